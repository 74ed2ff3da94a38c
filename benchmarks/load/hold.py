"""Opens connections, asks once on each, and then holds them until it is ended.

    python -m benchmarks.load.hold ADDRESS PORT CONNECTIONS

Writes ``held`` once all are there and have been answered.
"""

from __future__ import annotations

import signal
import socket
import sys

from benchmarks.load.http import body_length, read_head, request


def main(host: str, port: str, count: str) -> None:
    """Open them one after another, and wait."""
    held = []
    for _ in range(int(count)):
        connection = socket.create_connection((host, int(port)), timeout=60)
        connection.sendall(request(host))
        head, came = read_head(connection)
        while came < body_length(head):
            came += len(connection.recv(65536))
        held.append(connection)
    print("held", flush=True)
    signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
