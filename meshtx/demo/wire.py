"""The wire of a demo without namespaces: a forwarder that writes down what passes.

Where nobody may capture, the programs are given its addresses for each other's: it connects each client to its
server, byte for byte, and keeps a copy. It is no part of the mesh, and shares no code with it.

    python -m meshtx.demo.wire ROUTES OUTPUT

ROUTES is a JSON list of [client, listen, connect] with two addresses of the form HOST:PORT; OUTPUT is written on
SIGTERM, a JSON list of [client, connect, sent, received] with the bytes in hexadecimal.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Route:
    """One client's way to one server.

    :param client: who it is; on one machine its address does not tell.
    """

    client: str
    listen: str
    connect: str


@dataclass
class _Copy:
    route: Route
    sent: bytearray = field(default_factory=bytearray)
    received: bytearray = field(default_factory=bytearray)


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, copy: bytearray) -> None:
    """Pass on bytes, then the end; a reset is passed on as one by whoever closes both sides."""
    while data := await reader.read(_CHUNK):
        copy += data
        writer.write(data)
        await writer.drain()
    writer.write_eof()


def _reset_on_close(writer: asyncio.StreamWriter, *, on: bool) -> None:
    """Say what a close looks like to the peer: asyncio's abort alone is an end like any other."""
    linger = struct.pack("ii", on, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


async def _serve(copy: _Copy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    _reset_on_close(writer, on=True)
    try:
        far_reader, far_writer = await asyncio.open_connection(*_split(copy.route.connect))
    except OSError:
        writer.transport.abort()
        return
    _reset_on_close(far_writer, on=True)
    try:
        await asyncio.gather(_pump(reader, far_writer, copy.sent), _pump(far_reader, writer, copy.received))
        for each in (writer, far_writer):
            _reset_on_close(each, on=False)
            each.close()
    except OSError:
        writer.transport.abort()
        far_writer.transport.abort()


async def forward(routes: list[Route], ready: Callable[[], None]) -> list[_Copy]:
    """Forward on every route until SIGTERM, and return what passed.

    :param ready: called once all routes are open.
    """
    copies: list[_Copy] = []

    async def listen(route: Route) -> None:
        async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            copies.append(_Copy(route))
            await _serve(copies[-1], reader, writer)

        await asyncio.start_server(accepted, *_split(route.listen))

    for route in routes:
        await listen(route)
    ready()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    return copies


def record(routes: list[Route], output: Path) -> None:
    """Forward until SIGTERM, then write down what passed."""
    copies = asyncio.run(forward(routes, output.with_suffix(".ready").touch))
    seen = [[c.route.client, c.route.connect, c.sent.hex(), c.received.hex()] for c in copies]
    output.write_text(json.dumps(seen))


if __name__ == "__main__":
    record([Route(*each) for each in json.loads(Path(sys.argv[1]).read_text())], Path(sys.argv[2]))
