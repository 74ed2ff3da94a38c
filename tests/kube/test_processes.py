"""Nothing of a control plane outlives who started it, unless a person wants it to."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.kube.case import started
from tests.kube.control_plane import PROGRAMS, ROOT, main, running

STARTS = """
import signal, sys
from pathlib import Path
from tests.kube.control_plane import control_plane
print(control_plane().folder, flush=True)
sys.stdin.read()
"""


class TestProcesses(SynchronousTestCase):
    def setUp(self) -> None:
        started()  # or skips
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def start(self) -> tuple[subprocess.Popen[str], Path]:
        """Return a process that has started a control plane, and the control plane's folder."""
        process = subprocess.Popen(
            [sys.executable, "-c", STARTS],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(process.communicate)
        assert process.stdout
        folder = Path(process.stdout.readline().strip())
        self.assertEqual(set(running(folder)), set(PROGRAMS))
        return process, folder

    def wait_until(self, fact: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        while not fact():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)

    def run_main(self, command: str) -> tuple[int, str, str]:
        out, err = StringIO(), StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status = main([command], self.folder / "kept")
        return status, out.getvalue(), err.getvalue()

    def test_it_ends_with_the_process_and_leaves_nothing(self) -> None:
        process, folder = self.start()
        process.communicate("")
        self.assertEqual((process.returncode, running(folder), folder.exists()), (0, {}, False))

    def test_it_ends_when_the_process_is_killed(self) -> None:
        process, folder = self.start()
        process.send_signal(signal.SIGKILL)
        self.wait_until(lambda: not running(folder))

    def test_a_person_has_one_until_he_ends_it(self) -> None:
        self.assertEqual(self.run_main("env"), (1, "", "meshtx: nothing is up; start it by: make kube-up\n"))
        self.addCleanup(self.run_main, "down")
        for words in ("is up after", "is up already"):
            status, said, problem = self.run_main("up")
            self.assertEqual((status, said.count(words), problem), (0, 1, ""))
        status, said, _ = self.run_main("env")
        self.assertIn(f"KUBECONFIG={self.folder}/kept/", said)
        ended = "ended etcd, kube-apiserver, kube-controller-manager\n"
        self.assertEqual(self.run_main("down"), (0, ended, ""))
        self.assertEqual(self.run_main("down"), (0, "nothing is up\n", ""))

    def test_another_command_is_answered_by_the_usage(self) -> None:
        status, _, said = self.run_main("restart")
        self.assertEqual((status, said), (2, "usage: python -m tests.kube.control_plane up|down|env\n"))
