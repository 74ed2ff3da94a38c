"""Both ends of a TCP connection in a tale, by what they do with it.

    python -m tests.mesh.bytes_peer listen|connect ADDRESS PORT DOING [NUMBER]

``listen`` writes ``listening``, and does the same with each connection that it accepts; ``connect`` does it with one.

- ``exchange BYTES``: sends as many and reads to the end at once, then writes a line of JSON: digests of both.
- ``answer BYTES``: reads to the end, and only then sends as many; the same line.
- ``part BYTES``: sends as many and no more, but does not end; writes how the other side ended it.
- ``read BYTES``: reads as many, writes ``read``, and then how it ended: ``end`` or ``reset``.
- ``push CONNECTIONS``: sends on that many connections until nothing goes any more, writes ``stuck at N bytes``.
- ``hold``: reads nothing.
"""

from __future__ import annotations

import hashlib
import json
import random
import select
import socket
import sys
import threading
from collections.abc import Callable

STILL = 3.0
"""Seconds in which not one more byte was taken: then it is stuck."""
_CHUNK = 1 << 16


def say(text: str) -> None:
    print(text, flush=True)


def _send(connection: socket.socket, size: int) -> str:
    """Send that many bytes, no two chunks alike, then the end; return their digest."""
    digest, seed = hashlib.sha256(), random.randbytes(1 << 20)
    while size > 0:
        seed = seed[1:] + seed[:1]
        chunk = seed[:size]
        digest.update(chunk)
        connection.sendall(chunk)
        size -= len(chunk)
    connection.shutdown(socket.SHUT_WR)
    return digest.hexdigest()


def _receive(connection: socket.socket) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    while data := connection.recv(_CHUNK):
        digest.update(data)
        size += len(data)
    return digest.hexdigest(), size


def _tell(sent: str, received: tuple[str, int]) -> None:
    say(json.dumps({"sent": sent, "received": received[0], "size": received[1]}))


def exchange(connection: socket.socket, size: int) -> None:
    got: list[tuple[str, int]] = []
    reader = threading.Thread(target=lambda: got.append(_receive(connection)))
    reader.start()
    sent = _send(connection, size)
    reader.join()
    _tell(sent, got[0])


def answer(connection: socket.socket, size: int) -> None:
    received = _receive(connection)
    _tell(_send(connection, size), received)


def part(connection: socket.socket, size: int) -> None:
    connection.sendall(bytes(size))
    _end(connection)


def read(connection: socket.socket, size: int) -> None:
    while size > 0:
        size -= len(connection.recv(min(size, _CHUNK)))
    say("read")
    _end(connection)


def _end(connection: socket.socket) -> None:
    try:
        say("more" if connection.recv(1) else "end")
    except ConnectionResetError:
        say("reset")


def hold(connection: socket.socket, _number: int) -> None:
    threading.Event().wait()


def push(connections: list[socket.socket]) -> None:
    total, chunk = 0, bytes(_CHUNK)
    for each in connections:
        each.setblocking(False)
    while True:
        _, writable, _ = select.select([], connections, [], STILL)
        if not writable:
            say(f"stuck at {total} bytes")
            threading.Event().wait()
        for each in writable:
            total += each.send(chunk)


DOINGS: dict[str, Callable[[socket.socket, int], None]] = {
    "exchange": exchange,
    "answer": answer,
    "part": part,
    "read": read,
    "hold": hold,
}


def main(role: str, address: str, port: int, doing: str, number: int = 0) -> None:
    if role == "listen":
        with socket.create_server((address, port), family=_family(address), backlog=128) as listener:
            say("listening")
            if doing == "push":
                push([listener.accept()[0] for _ in range(number)])
            while True:
                threading.Thread(target=DOINGS[doing], args=(listener.accept()[0], number), daemon=True).start()
    if doing == "push":
        push([socket.create_connection((address, port)) for _ in range(number)])
    if doing == "hold":
        held = [socket.create_connection((address, port)) for _ in range(number)]
        hold(held[0], number)
    DOINGS[doing](socket.create_connection((address, port)), number)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


if __name__ == "__main__":
    main(*sys.argv[1:3], int(sys.argv[3]), sys.argv[4], *map(int, sys.argv[5:]))
