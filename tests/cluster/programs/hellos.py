"""Time from a ClientHello to the first byte of the answer, with silent connections beside it and with none.

hellos.py HOST:PORT COUNT SILENT

COUNT hellos each, by turns of ten; prints as JSON the milliseconds of all, sorted.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import sys
import time

TURN = 10
TIMEOUT = 10.0
"""Seconds."""


def hello() -> bytes:
    """Return a ClientHello."""
    context = ssl.create_default_context()
    sent = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname="web")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return sent.read()


def answer(place: tuple[str, int], said: bytes) -> float:
    """Return how many milliseconds a hello waits.

    :raises OSError: it is not answered.
    """
    with socket.create_connection(place, TIMEOUT) as connection:
        begin = time.monotonic()
        connection.sendall(said)
        if not connection.recv(1):
            raise ConnectionError("closed without an answer")
        return (time.monotonic() - begin) * 1000


def main(where: str, count: str, silent: str) -> None:
    """Measure."""
    host, _, port = where.rpartition(":")
    place, said = (host, int(port)), hello()
    took: dict[str, list[float]] = {"none": [], "silent": []}
    for _ in range(int(count) // TURN):
        took["none"] += [answer(place, said) for _ in range(TURN)]
        with contextlib.ExitStack() as held:
            for _ in range(int(silent)):
                held.enter_context(socket.create_connection(place, TIMEOUT))
            took["silent"] += [answer(place, said) for _ in range(TURN)]
    print(json.dumps({name: sorted(each) for name, each in took.items()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
