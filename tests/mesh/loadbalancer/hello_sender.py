"""Sends first bytes of every kind, whole and cut in two anywhere, and tells what came of them.

    python -m tests.mesh.loadbalancer.hello_sender ADDRESS PID SHARE DEADLINE PROXY SHOP CERTIFICATE KEY ANCHORS KIND...

The proxy, whose process is PID, reads the first part of each before the second is sent. `AT_ONCE` connections are
served together, for SHARE of the time: for 1 without a pause. KIND is one of `kinds`; without any all are sent. The
answer is one line of JSON: by kind how many were tried, and what was wrong.
"""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import json
import socket
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from meshtx.wire.client_hello import MAX
from tests.mesh.loadbalancer.client import WORD, Client, context, in_records, sized, terse
from tests.mesh.loadbalancer.ports import CLEAR_PORT, TLS_PORT, connect
from tests.wire.test_client_hello import HELLOS, NO_HELLOS, UNDECIDED

AT_ONCE = 8
PATIENCE = 30.0
"""Seconds in which all that is not to be waited for must have come, however busy the machine."""
USUAL = 1700
"""Bytes of a hello with a post-quantum key share: more than one segment."""
REQUEST = b"GET /are/you/there HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n"


class First(Protocol):
    """The first bytes of a connection to a port, and what must come of them."""

    data: bytes
    port: int

    async def wrong(self, sock: socket.socket) -> str:
        """Return what is wrong with what comes of them, nothing if all is right."""
        ...


@dataclass
class Tls:
    """A hello whose client trusts one server alone, and asks it for an echo."""

    client: Client
    port: int
    data: bytes

    async def wrong(self, sock: socket.socket) -> str:
        said = await asyncio.get_running_loop().sock_recv(sock, 1 << 14)
        return "" if await self.client.goes_on(sock, said) else "no echo"


@dataclass
class AsItIs:
    """Bytes that the application gets, and echoes, as they are; then a word more.

    :param pause: seconds before that word.
    """

    data: bytes
    pause: float = 0.0
    port: int = CLEAR_PORT

    async def wrong(self, sock: socket.socket) -> str:
        await asyncio.sleep(self.pause)
        await asyncio.get_running_loop().sock_sendall(sock, WORD)
        wanted, got = self.data + WORD, b""
        while len(got) < len(wanted):
            if not (data := await asyncio.get_running_loop().sock_recv(sock, 1 << 14)):
                return f"ended after {len(got)} of {len(wanted)} bytes"
            got += data
        return "" if got == wanted else "not the same bytes"


@dataclass
class Begun:
    """A hello that is not finished: the connection ends at its deadline, without a byte.

    :param deadline: seconds; none: it ends when its client has said that no more comes.
    """

    data: bytes
    deadline: float = 0.0
    port: int = CLEAR_PORT

    async def wrong(self, sock: socket.socket) -> str:
        begun = time.monotonic()
        if not self.deadline:
            sock.shutdown(socket.SHUT_WR)
        try:
            if await asyncio.get_running_loop().sock_recv(sock, 1):
                return "answered"
        except ConnectionResetError:
            pass
        waited = time.monotonic() - begun
        return "" if self.deadline - 1 < waited < self.deadline + 3 else f"ended after {waited:.1f} s"


@dataclass(frozen=True)
class Job:
    """One connection.

    :param at: how many bytes come first, and are read before the others.
    """

    make: Callable[[], First]
    at: int


@dataclass
class Result:
    """What came of a kind."""

    tried: int = 0
    wrong: list[str] = field(default_factory=list)


def everywhere(make: Callable[[], First]) -> list[Job]:
    """Do not cut, and cut between any two bytes."""
    return [Job(make, at) for at in range(len(make().data))]


def here_and_there(make: Callable[[], First]) -> list[Job]:
    """Do not cut, and cut where records, segments and the message begin and end."""
    size = len(make().data)
    return [Job(make, at) for at in (0, 1, 5, 9, 1448, 9005, size - 1) if at < size]


@dataclass
class Sources:
    """Makes first bytes.

    :param proxy: the name to which the proxy answers; it is proved by its certificate.
    :param shop: the name that the application's own certificate proves.
    :param own: the files of the client's certificate and key.
    """

    proxy: str
    shop: str
    own: Sequence[str]
    anchors: str
    deadline: float

    def mesh(self, size: int = 0, records: int = 0) -> Callable[[], Tls]:
        """Return what makes hellos for the proxy, of a size, or as they come."""
        how = context(self.anchors, self.own)
        if size:
            sized(how, self.proxy, size)
        return lambda: _tls(Client(how, self.proxy), CLEAR_PORT, records)

    def owns(self, size: int, records: int = 0) -> Callable[[], Tls]:
        """Return what makes hellos for the application's own TLS."""
        how = context(self.anchors)
        sized(how, self.shop, size)
        return lambda: _tls(Client(how, self.shop), TLS_PORT, records)

    def owns_tersely(self) -> Callable[[], Tls]:
        """Return what makes such ones as short as they can be."""
        how = terse(context(self.anchors))
        return lambda: _tls(Client(how, self.shop), TLS_PORT)

    def kinds(self) -> dict[str, list[Job]]:
        """Return all that there is to be tried."""
        foreign = [Job(_echoed(data), 0) for data, _ in HELLOS.values()]
        broken = [_echoed(data) for data in NO_HELLOS.values()]
        begun = [data for data in UNDECIDED.values() if data]
        return {
            "mesh": everywhere(self.mesh(USUAL)),
            "mesh, short": everywhere(self.mesh()),
            "own": everywhere(self.owns(USUAL)),
            "own, short": everywhere(self.owns_tersely()),
            "clear": everywhere(_echoed(REQUEST)),
            "long": _every(here_and_there, self._long()),
            "foreign": foreign,
            "broken": _every(everywhere, broken),
            "broken, whole": [Job(each, 0) for each in broken],
            "broken off": [Job(_begun(data), 0) for data in begun],
            "begun": [Job(_begun(data, self.deadline), 0) for data in begun],
            "silent": [Job(lambda: AsItIs(b"", self.deadline + 1), 0)],
        }

    def _long(self) -> list[Callable[[], First]]:
        """Return what fits the proxy's bound, up to its last byte, and what does not: that is the application's."""
        in_two = MAX - 5, 9000
        over = in_two[0] + 1, 9000
        return [
            *(each(*size) for each in (self.mesh, self.owns) for size in ((MAX, 0), in_two, (USUAL, 1))),
            *(self.owns(*size) for size in (over, (MAX + 1, 0), (40_000, 0))),
            *(_as_it_is(self.mesh(*size)) for size in (over, (MAX + 1, 0), (40_000, 0))),
        ]


def _tls(client: Client, port: int, records: int = 0) -> Tls:
    return Tls(client, port, in_records(client.hello, records) if records else client.hello)


def _as_it_is(make: Callable[[], Tls]) -> Callable[[], First]:
    return lambda: AsItIs(make().data)


def _echoed(data: bytes) -> Callable[[], First]:
    return lambda: AsItIs(data)


def _begun(data: bytes, deadline: float = 0.0) -> Callable[[], First]:
    return lambda: Begun(data, deadline)


def _every(cut: Callable[[Callable[[], First]], list[Job]], makes: Iterable[Callable[[], First]]) -> list[Job]:
    return list(itertools.chain.from_iterable(cut(make) for make in makes))


class Sender:
    """Sends, and takes down what was wrong.

    :param pid: of the proxy.
    """

    def __init__(self, address: str, pid: int) -> None:
        self._address = address
        self._table = Path(f"/proc/{pid}/net/tcp")

    async def send(self, jobs: Sequence[Job], result: Result) -> None:
        """Send some at a time."""
        firsts = [job.make() for job in jobs]
        socks: list[socket.socket] = []
        try:
            for first in firsts:
                socks.append(await connect("0.0.0.0", self._address, first.port))
            async with asyncio.timeout(PATIENCE):
                await self._first_parts(jobs, firsts, socks)
            rests = (_rest(*each) for each in zip(jobs, firsts, socks, strict=True))
            found = [each for each in await asyncio.gather(*rests) if each]
        finally:
            for sock in socks:
                sock.close()
        result.tried += len(jobs)
        result.wrong += found

    async def _first_parts(self, jobs: Sequence[Job], firsts: Sequence[First], socks: Sequence[socket.socket]) -> None:
        for job, first, sock in zip(jobs, firsts, socks, strict=True):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().sock_sendall(sock, first.data[: job.at])
        while any(_unacknowledged(sock) for sock in socks) or self._unread(socks):  # noqa: ASYNC110  nobody calls back
            await asyncio.sleep(0.002)

    def _unread(self, socks: Sequence[socket.socket]) -> bool:
        """Return whether the proxy has not read yet all that was sent, by its kernel's table of connections."""
        ours = {_key(sock) for sock in socks}
        rows = (line.split() for line in self._table.read_text().splitlines()[1:])
        return any(row[2] in ours and not row[4].endswith(":00000000") for row in rows)


async def _rest(job: Job, first: First, sock: socket.socket) -> str:
    try:
        async with asyncio.timeout(PATIENCE):
            await asyncio.get_running_loop().sock_sendall(sock, first.data[job.at :])
            wrong = await first.wrong(sock)
    except (OSError, TimeoutError) as error:
        wrong = repr(error)
    return f"{first.data[:60]!r} of {len(first.data)} bytes, cut at {job.at}: {wrong}" if wrong else ""


def _unacknowledged(sock: socket.socket) -> int:
    return struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))[0]


def _key(sock: socket.socket) -> str:
    host, port = sock.getsockname()
    return f"{int.from_bytes(socket.inet_aton(host), sys.byteorder):08X}:{port:04X}"


async def send_all(sender: Sender, kinds: dict[str, list[Job]], share: float) -> dict[str, Result]:
    """Send all; what only waits does so meanwhile.

    :param share: the part of the time in which it sends.
    """
    found = {kind: Result() for kind in kinds}
    waiting = [sender.send(kinds.pop(kind), found[kind]) for kind in ("begun", "silent") if kind in kinds]

    async def paced() -> None:
        for kind, jobs in kinds.items():
            for at in range(0, len(jobs), AT_ONCE):
                begun = time.monotonic()
                await sender.send(jobs[at : at + AT_ONCE], found[kind])
                await asyncio.sleep((time.monotonic() - begun) * (1 / share - 1))

    await asyncio.gather(paced(), *waiting)
    return found


def main(address: str, pid: str, share: str, deadline: str, *argv: str) -> None:
    proxy, shop, certificate, key, anchors, *wanted = argv
    kinds = Sources(proxy, shop, (certificate, key), anchors, float(deadline)).kinds()
    chosen = {kind: jobs for kind, jobs in kinds.items() if kind in (wanted or kinds)}
    found = asyncio.run(send_all(Sender(address, int(pid)), chosen, float(share)))
    print(json.dumps({kind: [result.tried, result.wrong] for kind, result in found.items()}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
