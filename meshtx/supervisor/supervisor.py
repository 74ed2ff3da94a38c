"""Runs a proxy and a command: the command starts when the proxy is ready, and the proxy ends after the command.

    proxy starts ─▶ ready ─▶ command starts ─▶ command ends ─▶ proxy is sent SIGTERM, drains ─▶ exit status
      │               │                │
      │               │                └ cannot be executed: 126, not found: 127
      │               └ not within the timeout: 125
      └ ends before it is ready: 125

Signals go to the command alone, and the proxy is asked to end only when the command has ended. A signal that asks us
to end before the command has started ends the proxy instead. A proxy that fails while the command runs is not started
again: the command's connections are lost, so it is sent SIGTERM, and the status is 125. A proxy that exits with status
0 was asked to (``POST /shutdown``), and the command goes on.

Exit statuses are those of shells (POSIX, Shell and Utilities, 2.8.2) and of timeout(1).
"""

from __future__ import annotations

import math
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from signal import Signals
from typing import IO

from meshtx.errors import MeshtxError, said_by_system
from meshtx.supervisor.processes import has_terminal, listens, reap, start_command, start_proxy
from meshtx.supervisor.readiness import NotReady, not_ready_reason, wait_until_ready
from meshtx.supervisor.signals import FORWARDED, STOPPING, Received, SignalQueue

PROXY_FAILED, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127
BY_SIGNAL = 128
"""Added to the number of the signal that ended a command."""
COMMAND_GRACE = 30.0
"""Seconds between SIGTERM and SIGKILL for a command whose proxy has failed."""
DRAIN_MARGIN = 5.0
"""Seconds that a proxy gets beside its `drain_timeout`, before it is killed."""


class ProxyEnded(MeshtxError):
    """The proxy ended before it was ready."""


class StopRequested(Exception):
    """A signal asked us to end before the command was started."""

    def __init__(self, number: Signals) -> None:
        super().__init__(number)
        self.number = number


@dataclass(frozen=True, slots=True)
class ProxyProgram:
    """The proxy to run.

    :param argv: the command line of a process that stays in the foreground.
    :param admin_host: where its admin port can be reached.
    :param admin_port: likewise; not 0.
    :param ready_timeout: seconds until it must be ready.
    :param drain_timeout: seconds that it may take to end after SIGTERM.
    """

    argv: Sequence[str]
    admin_host: str
    admin_port: int
    ready_timeout: float
    drain_timeout: float


class Supervisor:
    """Runs one proxy and one command, once.

    :param command: a program, looked for in PATH, and its arguments.
    :param log: the file or descriptor that gets the proxy's output.
    :param report: called with each message to the user, one line without its end.
    """

    def __init__(
        self, program: ProxyProgram, command: Sequence[str], log: IO[bytes] | int, report: Callable[[str], None]
    ) -> None:
        self._program = program
        self._argv = command
        self._log = log
        self._report = report
        self._signals = SignalQueue()
        self._shares_group = has_terminal()

    def run(self) -> int:
        """Return the exit status, once both have ended."""
        with self._signals:
            self._proxy = start_proxy(self._program.argv, self._signals.mask, self._log)
            self._command: subprocess.Popen[bytes] | None = None
            try:
                self._await_readiness()
                return self._run_command()
            except (NotReady, ProxyEnded) as error:
                self._report(f"{error}; {self._argv[0]} was not started")
                return PROXY_FAILED
            except StopRequested as stop:
                return BY_SIGNAL + stop.number
            finally:
                self._stop_proxy()

    def _await_readiness(self) -> None:
        """Wait until the proxy is ready.

        :raises NotReady: the time is over.
        :raises ProxyEnded: it has ended.
        :raises StopRequested: a signal came.
        """
        program = self._program

        def reason() -> str | None:
            why = not_ready_reason(program.admin_host, program.admin_port)
            if why is None and not listens(self._proxy.pid, program.admin_port):
                return f"port {program.admin_port} is another program's"
            return why

        wait_until_ready(reason, program.ready_timeout, self._pause)

    def _pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            received = self._receive(left)
            if self._proxy.returncode is not None:
                raise ProxyEnded(f"the proxy ended {_described(self._proxy.returncode)} before it was ready")
            if received is not None and received.number in STOPPING:
                raise StopRequested(received.number)

    def _receive(self, timeout: float) -> Received | None:
        """Wait for a signal that concerns the command; ``None``: the time may be over, or a child has ended."""
        received = self._signals.receive(timeout)
        if received is None or received.number in FORWARDED:
            return received
        ended = dict(reap())
        for child in (self._proxy, self._command):
            if child is not None and child.pid in ended:
                child.returncode = ended[child.pid]
        return None

    def _run_command(self) -> int:
        """Run the command to its end and return the exit status."""
        name, proxy = self._argv[0], self._proxy
        try:
            command = start_command(self._argv, self._signals.mask, shares_group=self._shares_group)
        except OSError as error:
            self._report(f"{name}: cannot be executed: {said_by_system(error)}")
            return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
        self._command = command
        self._forward_signals(command, lambda: proxy.returncode is None)
        if command.returncode is None and proxy.returncode != 0:
            self._report(f"the proxy ended {_described(proxy.returncode)}; {name} is sent SIGTERM")
            self._end_command(command)
            return PROXY_FAILED
        if command.returncode is None:
            self._report(f"the proxy ended, as it was asked to; {name} goes on without it")
            self._forward_signals(command)
        return _shell_status(command)

    def _end_command(self, command: subprocess.Popen[bytes]) -> None:
        os.kill(command.pid, Signals.SIGTERM)
        os.kill(command.pid, Signals.SIGCONT)  # in case it is stopped
        self._forward_signals(command, deadline=time.monotonic() + COMMAND_GRACE)
        if command.returncode is None:
            self._report(f"{self._argv[0]} did not end within {COMMAND_GRACE:g} s and is killed")
            os.kill(command.pid, Signals.SIGKILL)
            self._forward_signals(command)

    def _forward_signals(
        self,
        command: subprocess.Popen[bytes],
        condition: Callable[[], bool] = lambda: True,
        deadline: float = math.inf,
    ) -> None:
        """Send signals on to the command while it runs and a condition holds, until a deadline (monotonic seconds)."""
        while command.returncode is None and condition() and (left := deadline - time.monotonic()) > 0:
            received = self._receive(left)
            if received is None:
                continue
            if not (received.from_terminal and self._shares_group):  # else the terminal has sent it to both
                os.kill(command.pid, received.number)
            if received.number is Signals.SIGTSTP:
                self._signals.stop()

    def _stop_proxy(self) -> None:
        """Have the proxy drain and end; kill it if that takes too long, or if a signal asks us to end meanwhile."""
        proxy = self._proxy
        if proxy.returncode is not None:
            return
        os.kill(proxy.pid, Signals.SIGTERM)
        deadline = time.monotonic() + self._program.drain_timeout + DRAIN_MARGIN
        while proxy.returncode is None:
            left = deadline - time.monotonic()
            received = self._receive(left) if left > 0 else None
            if left <= 0 or (received is not None and received.number in STOPPING):
                self._report("the proxy is killed before it has drained; connections may have been reset")
                os.kill(proxy.pid, Signals.SIGKILL)
                deadline = math.inf
        if proxy.returncode not in {0, -Signals.SIGTERM, -Signals.SIGKILL}:
            self._report(f"the proxy ended {_described(proxy.returncode)} while it drained; connections may be lost")


def _described(returncode: int | None) -> str:
    if returncode is not None and returncode < 0:
        return f"by {Signals(-returncode).name}"
    return f"with status {returncode}"


def _shell_status(process: subprocess.Popen[bytes]) -> int:
    status = process.returncode
    return BY_SIGNAL - status if status < 0 else status
