"""Watches a program from its /live, asked back to back: how long its loop was held, and how far it grew.

A hold is the CPU time that the program has used between two answers: on a machine that is busy, the time on the wall
says nothing. What it did while this process itself waited for a CPU is taken off, for then nobody asked. A hold is told
to the few milliseconds in which the kernel brings a running process' time up to date.

A connection that newcomers have pushed out of the admin port, for it had not asked meanwhile, is made anew. It then
waits for its turn in the port's queue, over many turns of the loop: no hold.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 60.0
"""Seconds that an answer is waited for."""
ATTEMPTS = 100
"""Connections on which an answer may be asked for: the admin port gives the place of the oldest to a newcomer."""
SETTLED = 20
"""Answers behind the end of the input."""
_LIVE = b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n"


@dataclass(frozen=True)
class Seen:
    """What was seen of a program while something went on.

    :param hold: the longest hold of its loop, seconds of its CPU time.
    :param growth: KiB by which its resident memory was larger at most than before.
    :param cpu: seconds that it used in all.
    :param answers: how often /live was answered.
    """

    hold: float
    growth: int
    cpu: float
    answers: int


class Live:
    """The admin port of a program, on a connection that is kept.

    :param pid: the program's process.
    """

    def __init__(self, address: tuple[str, int], pid: int) -> None:
        self._address = address
        self._clock = (~pid << 3) | 2  # the CPU-time clock of a process (clock_getcpuclockid(3))
        self._status = Path(f"/proc/{pid}/status")
        self._connection: socket.socket | None = None

    def close(self) -> None:
        """Leave."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def ask(self) -> bool:
        """Ask once, on a new connection if newcomers have taken the place of the old one.

        :return: whether the old one was answered.
        :raises OSError: there was no answer.
        """
        for attempt in range(ATTEMPTS - 1):
            kept = attempt == 0 and self._connection is not None
            with suppress(ConnectionError):
                self._ask()
                return kept
            self.close()
        self._ask()
        return False

    def _ask(self) -> None:
        if self._connection is None:
            self._connection = socket.create_connection(self._address, PATIENCE)
        self._connection.sendall(_LIVE)
        answer = b""
        while not answer.endswith(b"live\n"):
            data = self._connection.recv(4096)
            if not data:
                raise ConnectionError("/live was closed")
            answer += data

    def watch(self, going_on: Callable[[], bool]) -> Seen:
        """Ask as long as something goes on, and a little longer."""
        self.ask()
        memory = most = self.memory()
        begun = before = self._cpu()
        waited, longest, answers, settled = _waited(), 0.0, 0, 0
        while settled < SETTLED:
            settled = 0 if going_on() else settled + 1
            kept = self.ask()
            answers += 1
            cpu, waits = self._cpu(), _waited()
            if kept:
                longest = max(longest, cpu - before - (waits - waited))
            before, waited = cpu, waits
            if answers % 16 == 0:
                most = max(most, self.memory())
        return Seen(longest, (max(most, self.memory()) - memory) // 1024, before - begun, answers)

    def memory(self) -> int:
        """Return the resident memory, bytes."""
        return 1024 * int(self._status.read_text().partition("VmRSS:")[2].split()[0])

    def _cpu(self) -> float:
        return time.clock_gettime(self._clock)


def _waited() -> float:
    """Return the seconds that this thread was ready to run, and did not."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
