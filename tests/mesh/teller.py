"""A client for tales that says what it is told to, and writes what it hears until the end.

    python -m tests.mesh.teller HOST PORT TEXT

TEXT is Python's inside of a bytes literal: ``GET / HTTP/1.0\\r\\n\\r\\n``. A reset is written as ``reset``.
"""

from __future__ import annotations

import socket
import sys


def main(host: str, port: int, text: bytes) -> None:
    with socket.create_connection((host, port), timeout=20) as connection:
        connection.sendall(text)
        try:
            while heard := connection.recv(1 << 16):
                sys.stdout.write(heard.decode(errors="replace"))
        except ConnectionResetError:
            sys.stdout.write("reset")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3].encode().decode("unicode_escape").encode("latin-1"))
