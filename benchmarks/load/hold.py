"""Opens connections, asks once on each, and then holds them until it is told to end.

    python -m benchmarks.load.hold ADDRESS PORT CONNECTIONS [BETWEEN]

Writes ``held`` and their number once all are there and have been answered. There are so many seconds between the ends
of two.
"""

from __future__ import annotations

import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.load.http import body_length, read_head, request

AT_ONCE = 8


def opened(host: str, port: int) -> socket.socket:
    """Return a connection on which one request has been answered."""
    connection = socket.create_connection((host, port), timeout=60)
    connection.sendall(request(host))
    head, came = read_head(connection)
    while came < body_length(head):
        came += len(connection.recv(65536))
    return connection


def main(host: str, port: str, count: str, between: str = "0") -> None:
    """Open them, wait, and end them."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        held = [*pool.map(lambda _: opened(host, int(port)), range(int(count)))]
    signal.signal(signal.SIGTERM, lambda *_: None)
    print(f"held {len(held)}", flush=True)
    signal.pause()
    for connection in held:
        connection.close()
        time.sleep(float(between))


if __name__ == "__main__":
    main(*sys.argv[1:])
