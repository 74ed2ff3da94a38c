"""What a supervisor finds out about its children."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from meshtx.supervisor import processes
from meshtx.supervisor.processes import listens


class ListensTests(SynchronousTestCase):
    def setUp(self) -> None:
        if not Path("/proc/self/net/tcp").exists():
            raise SkipTest("needs the /proc of Linux")
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.listener.close)
        self.port = self.listener.getsockname()[1]

    def test_a_port_belongs_to_the_process_that_holds_its_socket(self) -> None:
        self.assertTrue(listens(os.getpid(), self.port))
        self.assertFalse(listens(os.getppid(), self.port))
        with socket.create_connection(("127.0.0.1", self.port)) as client:
            self.assertFalse(listens(os.getpid(), client.getsockname()[1]))

    def test_ipv6_likewise(self) -> None:
        try:
            listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
        except OSError as error:
            raise SkipTest("needs IPv6") from error
        self.addCleanup(listener.close)
        self.assertTrue(listens(os.getpid(), listener.getsockname()[1]))

    def test_a_process_whose_descriptors_are_hidden_is_believed(self) -> None:
        def refuse(_path: str) -> str:
            raise PermissionError(13, "Permission denied")

        self.patch(os, "readlink", refuse)
        self.assertTrue(listens(os.getpid(), self.port))

    def test_a_process_that_has_ended_and_is_not_reaped_is_not_believed(self) -> None:
        def refuse(_process: object) -> list[str]:
            raise PermissionError(13, "Permission denied")  # as an ordinary user is told

        self.patch(processes, "_descriptors", refuse)
        ended = subprocess.Popen(["true"])
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        self.assertFalse(listens(ended.pid, self.port))
        ended.wait()

    def test_a_process_that_has_ended_listens_nowhere(self) -> None:
        self.assertFalse(listens(2**22 + 1, self.port))  # above the kernel's PID_MAX_LIMIT
