"""Whoever crashes leaves no key on a disk."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

PROGRAM = """
import os, resource, signal
from meshtx.services.core_dumps import forgo_core_dumps
_, hard = resource.getrlimit(resource.RLIMIT_CORE)
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
forgo_core_dumps()
print(*resource.getrlimit(resource.RLIMIT_CORE), hard, flush=True)
os.kill(os.getpid(), signal.SIGSEGV)
"""


class CoreDumpsTests(SynchronousTestCase):
    def test_a_program_that_crashes_leaves_none_though_it_might(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=folder, capture_output=True, text=True, check=False)
        soft, hard, before = done.stdout.split()
        self.assertEqual((soft, hard, done.returncode), ("0", before, -signal.SIGSEGV), done.stderr)
        self.assertEqual(list(folder.iterdir()), [])
