"""Answers ``GET /BYTES`` with so many bytes, and takes in the body of a ``PUT``.

python -m benchmarks.load.bulk_server PORT
"""

from __future__ import annotations

import socket
import sys
import threading

from benchmarks.load.http import body_length, read_head
from benchmarks.load.streams import drop, pour


def serve(connection: socket.socket) -> None:
    """Answer the requests of one connection."""
    with connection:
        while True:
            head, begun = read_head(connection)
            method, _, rest = head.partition(b" /")
            if method == b"GET":
                size = int(rest.split(b" ", 1)[0] or b"0")
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
                pour(connection, size)
            elif method == b"PUT":
                drop(connection, body_length(head) - begun)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            else:
                return


def main(port: str) -> None:
    """Serve, a thread a connection: there are few."""
    with socket.create_server(("", int(port))) as listener:
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
