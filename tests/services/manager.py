"""A service manager for tests: runs one program as systemd runs a unit of ``Type=notify`` with a descriptor store."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from meshtx.demo.lab import TimedOut, wait_until

_LARGEST, _MOST = 4096, 16

_PASS = """
import fcntl, os, sys
given, argv = [int(each) for each in sys.argv[1].split(",") if each], sys.argv[2:]
above = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, 100) for each in given]
for each in given:
    os.close(each)
for number, each in enumerate(above, 3):
    os.dup2(each, number)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execvp(argv[0], argv)
"""
"""Gives descriptors the numbers that are due from 3 on; LISTEN_PID is known behind the fork only."""


class Manager:
    """Starts a program, hears its messages, keeps its sockets and passes them to its next process.

    :param folder: for the socket of the messages and the program's output.
    :param environ: of the program, without what a manager adds.
    """

    def __init__(self, folder: Path, argv: Sequence[str], environ: Mapping[str, str]) -> None:
        self._argv = list(argv)
        self._environ = dict(environ)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._address = folder / "notify"
        self._socket.bind(str(self._address))
        self.log = folder / "program.log"
        self.stored: dict[str, int] = {}
        self.told: list[str] = []
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *passed: tuple[str, int]) -> None:
        """Start the program, and pass it what is stored.

        :param passed: other descriptors to pass, each with its name.
        """
        named = [*self.stored.items(), *passed]
        self.told.clear()
        environ = {
            **self._environ,
            "NOTIFY_SOCKET": str(self._address),
            "LISTEN_FDS": str(len(named)),
            "LISTEN_FDNAMES": ":".join(name for name, _ in named),
        }
        given = [os.dup(descriptor) for _, descriptor in named]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _PASS, ",".join(map(str, given)), *self._argv],
                env=environ,
                pass_fds=given,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        for descriptor in given:
            os.close(descriptor)

    def hear(self) -> list[str]:
        """Take the messages that have come, and return all that the present process has told."""
        while True:
            try:
                message, descriptors, _, _ = socket.recv_fds(self._socket, _LARGEST, _MOST)
            except BlockingIOError:
                return self.told
            lines = message.decode().splitlines()
            self.told += lines
            fields = dict(line.split("=", 1) for line in lines)
            name = fields.get("FDNAME", "")
            if "FDSTOREREMOVE" in fields:
                os.close(self.stored.pop(name))
            elif "FDSTORE" in fields:
                (self.stored[name],) = descriptors

    def until(self, fact: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        """Wait for a fact that comes true while the program runs."""

        def there() -> bool:
            self.hear()
            if self.process is not None and self.process.poll() is not None and not fact():
                raise AssertionError(f"ended with {self.process.returncode} before {what}:\n{self.log.read_text()}")
            return fact()

        try:
            wait_until(there, what, seconds)
        except TimedOut as error:
            raise AssertionError(f"{error}; it wrote:\n{self.log.read_text()}") from None

    def until_ready(self) -> None:
        """Wait until the program says that it is ready."""
        self.until(lambda: "READY=1" in self.told, "it says that it is ready")

    def restart(self) -> None:
        """What ``systemctl restart`` does."""
        self.stop()
        self.start()
        self.until_ready()

    def stop(self) -> int:
        """Have the program end, and return its status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(60)
        self.hear()
        return status

    def close(self) -> None:
        """Kill the program, if it still runs, and forget what is stored."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        for descriptor in self.stored.values():
            os.close(descriptor)
        self.stored.clear()
        self._socket.close()
