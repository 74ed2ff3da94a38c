"""A reactor for one command, each in a process of its own: a reactor runs only once."""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

_BEGIN = """
import os, signal, sys
from twisted.internet.defer import Deferred
from meshtx.cli.reacting import react
from meshtx.errors import PeerError
"""


class ReactTests(SynchronousTestCase):
    def ran(self, main: str) -> tuple[int, str, str]:
        program = f"{_BEGIN}\nasync def main(reactor):\n    {main}\nprint(react(main))"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout, done.stderr

    def test_what_it_does_is_returned(self) -> None:
        self.assertEqual(self.ran("return 'done'"), (0, "done\n", ""))

    def test_it_begins_when_the_reactor_runs(self) -> None:
        self.assertEqual(self.ran("return reactor.running"), (0, "True\n", ""))

    def test_an_interrupt_at_once_ends_it_in_order(self) -> None:
        self.assertEqual(self.ran("os.kill(os.getpid(), signal.SIGINT); await Deferred()"), (0, "None\n", ""))

    def test_its_own_failure_is_raised(self) -> None:
        status, out, err = self.ran("raise PeerError('mend it')")
        self.assertEqual((status, out), (1, ""))
        self.assertTrue(err.endswith("PeerError: mend it\n"), err)

    def test_a_defect_is_logged(self) -> None:
        status, out, err = self.ran("return 1 // 0")
        self.assertEqual((status, out), (1, ""))
        self.assertIn("ZeroDivisionError", err)
