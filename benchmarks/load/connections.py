"""Connects, asks once, reads the answer, closes; as often as it can, some at once.

    python -m benchmarks.load.connections ADDRESS PORT SECONDS AT_ONCE [CUT]

Each CUTth is reset once it has asked. Writes how many there were, and how long from connect() to the first byte of the
answer.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
import time
from dataclasses import dataclass, field

from benchmarks.load.http import request, whole_length
from benchmarks.load.percentiles import percentiles

_RESET = struct.pack("ii", 1, 0)


@dataclass
class Attempt:
    """A connection under way."""

    connection: socket.socket
    begun: int
    sent: bool = False
    answer: bytes = b""


@dataclass
class Load:
    """Connections, one after another in each of some places.

    :param cut: every how manyth is reset; 0: none is.
    :param first_bytes: nanoseconds from connect() to the first byte, of each.
    """

    address: tuple[str, int]
    cut: int = 0
    first_bytes: list[int] = field(default_factory=list)
    done: int = 0
    failed: int = 0
    _begun: int = 0
    _attempts: dict[int, Attempt] = field(default_factory=dict)
    _poll: select.epoll = field(default_factory=select.epoll)

    def run(self, seconds: float, at_once: int) -> None:
        """Go on for some time, then finish what is under way."""
        self._request = request(self.address[0])
        end = time.monotonic() + seconds
        for _ in range(at_once):
            self._begin()
        while self._attempts:
            for number, _ in self._poll.poll(5) or self._stuck():
                self._event(self._attempts[number])
                if number not in self._attempts and time.monotonic() < end:
                    self._begin()

    def _stuck(self) -> list[tuple[int, int]]:
        raise TimeoutError(f"{len(self._attempts)} connections without an event for 5 s")

    def _begin(self) -> None:
        connection = socket.socket()
        connection.setblocking(False)
        attempt = Attempt(connection, time.perf_counter_ns())
        connection.connect_ex(self.address)
        self._attempts[connection.fileno()] = attempt
        self._poll.register(connection, select.EPOLLIN)
        self._send(attempt)
        self._begun += 1
        if self.cut and self._begun % self.cut == 0:
            self._reset(attempt)
            self._begin()

    def _reset(self, attempt: Attempt) -> None:
        """Have the other side see a reset, if it is there."""
        attempt.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        if attempt.connection.fileno() in self._attempts:
            self._end(attempt, failed=False)

    def _send(self, attempt: Attempt) -> None:
        """Send the request; on the loopback the connection is there at once, else wait for it."""
        try:
            attempt.connection.send(self._request)
        except BlockingIOError:
            self._poll.modify(attempt.connection, select.EPOLLOUT)
        except OSError:
            self._end(attempt, failed=True)
        else:
            attempt.sent = True
            self._poll.modify(attempt.connection, select.EPOLLIN)

    def _event(self, attempt: Attempt) -> None:
        if not attempt.sent:
            self._send(attempt)
            return
        try:
            data = attempt.connection.recv(65536)
        except OSError:
            data = b""
        if not attempt.answer:
            self.first_bytes.append(time.perf_counter_ns() - attempt.begun)
        attempt.answer += data
        length = whole_length(attempt.answer)
        if not data or len(attempt.answer) == length:
            self._end(attempt, failed=not data or not attempt.answer.startswith(b"HTTP/1.1 200"))

    def _end(self, attempt: Attempt, *, failed: bool) -> None:
        del self._attempts[attempt.connection.fileno()]
        attempt.connection.close()
        self.done += not failed
        self.failed += failed


def main(host: str, port: str, seconds: str, at_once: str, cut: str = "0") -> None:
    """Make the load and write what was seen."""
    load = Load((host, int(port)), int(cut))
    begun = time.monotonic()
    load.run(float(seconds), int(at_once))
    elapsed = time.monotonic() - begun
    report = {"done": load.done, "failed": load.failed, "seconds": elapsed, "ns": percentiles(load.first_bytes)}
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
