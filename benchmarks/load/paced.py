"""Asks at a steady rate, whatever becomes of the answers; a request's time counts from its turn, not from its sending.

    python -m benchmarks.load.paced ADDRESS PORT SECONDS RATE CONNECTIONS

So a proxy that stops for a moment is charged for all who would have asked meanwhile. Writes how many requests there
were, how late this program itself was, and how long the answers took.
"""

from __future__ import annotations

import gc
import json
import select
import socket
import sys
import time
from collections import deque

from benchmarks.load.http import body_length, read_head, request, whole_length
from benchmarks.load.percentiles import percentiles
from benchmarks.load.timer import Timer

WARM = 5
"""Requests on each connection before any counts."""
PATIENCE = 5.0
"""Seconds to wait for the last answers."""


class Load:
    """Requests on connections that are kept.

    :param waits: nanoseconds from a request's turn to its whole answer, of each.
    :param lates: nanoseconds from when it should have had its turn; a busy or slow machine, and no proxy, makes them.
    """

    def __init__(self, host: str, port: int, count: int) -> None:
        self.waits: list[int] = []
        self.lates: list[int] = []
        self._request = request(host)
        self._free = deque(self._connection(host, port) for _ in range(count))
        for each in self._free:
            for _ in range(WARM):
                self._once(each)
        self._asked: dict[int, int] = {}
        """When requests under way had their turn, by descriptor."""
        self._answers: dict[int, bytes] = {}
        """Answers that are not whole yet, likewise."""
        self._queue: deque[int] = deque()

    @staticmethod
    def _connection(host: str, port: int) -> socket.socket:
        connection = socket.create_connection((host, port), timeout=30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _once(self, connection: socket.socket) -> None:
        """Ask and wait."""
        connection.sendall(self._request)
        head, came = read_head(connection)
        length = body_length(head)
        while came < length:
            came += len(connection.recv(65536))

    def run(self, seconds: float, rate: float) -> None:
        """Ask for some time, and wait for what is under way."""
        interval = int(1e9 / rate)
        poll = select.epoll()
        by_number = {each.fileno(): each for each in self._free}
        for number, each in by_number.items():
            each.setblocking(False)
            poll.register(number, select.EPOLLIN)
        timer = Timer(interval)
        poll.register(timer.descriptor, select.EPOLLIN)
        due, end = timer.begun, timer.begun + int(seconds * 1e9)
        while due < end:
            for number, _ in poll.poll():
                if number == timer.descriptor:
                    now = time.monotonic_ns()
                    for _ in range(timer.expired()):
                        due += interval
                        self.lates.append(now - due)
                        self._queue.append(now)
                        self._send()
                else:
                    self._take(by_number[number])
        poll.unregister(timer.descriptor)
        while self._asked:
            for number, _ in poll.poll(PATIENCE) or self._stuck():
                self._take(by_number[number])

    def _stuck(self) -> list[tuple[int, int]]:
        raise TimeoutError(f"{len(self._asked)} requests without an answer for {PATIENCE:g} s")

    def _send(self) -> None:
        """Send the next request, if a connection is free."""
        if not self._free or not self._queue:
            return
        connection = self._free.popleft()
        connection.send(self._request)
        self._asked[connection.fileno()] = self._queue.popleft()

    def _take(self, connection: socket.socket) -> None:
        data = connection.recv(65536)
        if not data:
            raise ConnectionError("a connection was closed")
        number = connection.fileno()
        data = self._answers.pop(number, b"") + data
        if whole_length(data) != len(data):
            self._answers[number] = data
            return
        self.waits.append(time.monotonic_ns() - self._asked.pop(number))
        self._free.append(connection)
        self._send()


def main(host: str, port: str, seconds: str, rate: str, connections: str) -> None:
    """Make the load and write what was seen."""
    load = Load(host, int(port), int(connections))
    gc.freeze()
    gc.disable()  # what is measured is the proxies' pauses
    load.run(float(seconds), float(rate))
    report = {"done": len(load.waits), "ns": percentiles(load.waits), "late_ns": percentiles(load.lates)}
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
