"""Makes and ends connections to `tests.mesh.port_apps` in every way, and checks the port of each answer.

    python -m tests.mesh.port_churn HOST CONNECTIONS AT_ONCE SEED PORT...

It writes how many connections were answered, cut off and refused, and each answer that was of another port or another
connection. Source ports are taken from a small range, so that one serves connections to several ports in turn.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import sys
from collections import Counter

FIRST_SOURCE, SOURCES = 20000, 2000
"""Source ports."""
TIMEOUT = 5.0
"""Seconds for each answer: a connection that is left in a backlog is given up, as a client does."""


class Churn:
    """The connections, and what has become of them."""

    def __init__(self, host: str, count: int, ports: list[int], seed: int) -> None:
        self._host = host
        self._left = count
        self._ports = ports
        self._random = random.Random(seed)  # the same ways each time
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []

    async def one_by_one(self) -> None:
        """Connect until as many connections have been made as were asked for."""
        while self._left > 0:
            self._left -= 1
            sock = socket.socket()
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                async with asyncio.timeout(TIMEOUT):
                    outcome = await self._one(sock, self._random.choice(self._ports), self._left)
            except TimeoutError:
                outcome = "timed out"
            except OSError as error:
                outcome = type(error).__name__
            if self._random.random() < 0.5:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
            sock.close()
            self.outcomes[outcome] += 1

    async def _one(self, sock: socket.socket, port: int, number: int) -> str:
        loop, way = asyncio.get_running_loop(), self._random.random()
        sock.bind(("", FIRST_SOURCE + self._random.randrange(SOURCES)))
        await loop.sock_connect(sock, (self._host, port))
        if way < 0.15:
            return "ended at once"
        if way < 0.3:
            await asyncio.sleep(self._random.random())
        line = b"%d %d\n" % (port, number)
        await loop.sock_sendall(sock, line if way > 0.4 else line[:3])
        if 0.3 < way < 0.5:
            return "ended unanswered"
        if way <= 0.3:
            await loop.sock_sendall(sock, line[3:])
        expected = (b"%d hello\n" % port if port % 2 else b"") + line
        heard = b""
        while len(heard) < len(expected):
            chunk = await loop.sock_recv(sock, 4096)
            if not chunk:
                return "cut off"
            heard += chunk
            if not expected.startswith(heard):
                self.wrong.append(f"expected {expected!r}, got {heard!r} from {sock.getsockname()}")
                return "wrong"
        return "answered"


async def main(host: str, count: str, at_once: str, seed: str, *ports: str) -> None:
    churn = Churn(host, int(count), [int(port) for port in ports], int(seed))
    await asyncio.gather(*(churn.one_by_one() for _ in range(int(at_once))))
    print(json.dumps({"outcomes": churn.outcomes, "wrong": churn.wrong}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
