"""Measures what a client waits for behind the load balancer; writes one line of JSON, a list of `Answer`.

    python -m tests.mesh.loadbalancer.asker tls ADDRESS SECONDS EVERY DEADLINE NAME CERTIFICATE KEY ANCHORS SOURCE...
    python -m tests.mesh.loadbalancer.asker banner ADDRESS NUMBER SOURCE
    python -m tests.mesh.loadbalancer.asker dribble ADDRESS PORT EVERY SIZE

``tls`` begins a connection every EVERY seconds, whatever became of those before, by turns with the application's own
TLS and with mutual TLS to the proxy NAME (``-``: there is none). It times from the ClientHello sent to the first byte
of the ServerHello, then goes on to the end: a word, echoed by the application. ``banner`` times from the SYN to the
first word of the application. ``dribble`` sends a ClientHello of SIZE bytes byte by byte and tells what came of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
import sys
import time
from dataclasses import asdict, dataclass

from tests.mesh.loadbalancer.client import Client, context, short, sized, terse
from tests.mesh.loadbalancer.ports import BANNER, CLEAR_PORT, GREETING_PORT, SHOP, TLS_PORT, connect

_TERSE = 200
"""Bytes of the hellos that must offer little to be so short."""


@dataclass
class Answer:
    """What one connection waited for, in seconds.

    :param kind: ``passthrough``, ``mtls`` or ``banner``.
    :param connect: from SYN to SYN-ACK.
    :param hello: from ClientHello to ServerHello (of a banner: from the connection on); None: not in time.
    :param echoed: the application said what it was to say.
    """

    kind: str
    connect: float | None = None
    hello: float | None = None
    echoed: bool = False


async def _ask(client: Client, sock: socket.socket, answer: Answer) -> None:
    loop = asyncio.get_running_loop()
    begun = time.perf_counter()
    await loop.sock_sendall(sock, client.hello)
    data = await loop.sock_recv(sock, 1 << 14)
    if data[:1] == b"\x16":
        answer.hello = time.perf_counter() - begun
    answer.echoed = await client.goes_on(sock, data)


async def _once(client: Client, source: str, goal: tuple[str, int], answer: Answer, deadline: float) -> None:
    with contextlib.suppress(OSError, TimeoutError):  # then the answer lacks what did not come
        async with asyncio.timeout(deadline):
            begun = time.perf_counter()
            with await connect(source, *goal) as sock:
                answer.connect = time.perf_counter() - begun
                await _ask(client, sock, answer)


async def tls(
    address: str, seconds: float, every: float, deadline: float, proxy: str, files: list[str], sources: list[str]
) -> list[Answer]:
    mesh = context(files[2], files[:2])
    turns = [("passthrough", context(), SHOP, TLS_PORT), ("mtls", mesh, proxy, CLEAR_PORT)]
    kinds = itertools.cycle(turns[:1] if proxy == "-" else turns)
    answers, tasks, begun = [], [], time.monotonic()
    for number, (kind, how, name, port) in enumerate(kinds):
        if number * every >= seconds:
            break
        await asyncio.sleep(begun + number * every - time.monotonic())
        answers.append(Answer(kind))
        source = sources[number % len(sources)]
        job = _once(Client(how, name), source, (address, port), answers[-1], deadline)
        tasks.append(asyncio.create_task(job))
    await asyncio.gather(*tasks)
    return answers


async def banner(address: str, number: int, source: str) -> list[Answer]:
    """Connect again and again, one after another."""
    answers = []
    loop = asyncio.get_running_loop()
    for _ in range(number):
        answer = Answer("banner")
        answers.append(answer)
        begun = time.perf_counter()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(12):
                with await connect(source, address, GREETING_PORT) as sock:
                    answer.connect = time.perf_counter() - begun
                    answer.echoed = await loop.sock_recv(sock, 1 << 10) == BANNER
                    answer.hello = time.perf_counter() - begun - answer.connect
    return answers


def dribble(address: str, port: int, every: float, size: int) -> dict[str, object]:
    """Send a ClientHello byte by byte."""
    said = (short(size) if size < _TERSE else sized(terse(context()), SHOP, size)).hello
    begun = time.monotonic()
    with socket.create_connection((address, port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number, byte in enumerate(said):
            sock.settimeout(max(begun + number * every - time.monotonic(), 0.001))
            try:
                sock.recv(1)
            except TimeoutError:
                sock.settimeout(None)
            except OSError:
                return {"size": len(said), "sent": number, "end": "reset", "seconds": time.monotonic() - begun}
            else:
                return {"size": len(said), "sent": number, "end": "closed", "seconds": time.monotonic() - begun}
            sock.send(bytes([byte]))
        sock.settimeout(5)
        with contextlib.suppress(OSError):
            first = sock.recv(1)
            end = {b"\x16": "ServerHello", b"\x15": "alert", b"": "closed"}.get(first, "?")
            return {"size": len(said), "sent": len(said), "end": end, "seconds": time.monotonic() - begun}
    return {"size": len(said), "sent": len(said), "end": "nothing", "seconds": time.monotonic() - begun}


def main(doing: str, *argv: str) -> None:
    match doing:
        case "tls":
            address, seconds, every, deadline, proxy, *rest = argv
            job = tls(address, float(seconds), float(every), float(deadline), proxy, rest[:3], rest[3:])
            said: object = [asdict(answer) for answer in asyncio.run(job)]
        case "banner":
            said = [asdict(answer) for answer in asyncio.run(banner(argv[0], int(argv[1]), argv[2]))]
        case _:
            said = dribble(argv[0], int(argv[1]), float(argv[2]), int(argv[3]))
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
