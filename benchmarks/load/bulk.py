"""Moves many bytes over one connection, down (to us) or up.

    python -m benchmarks.load.bulk ADDRESS PORT down|up BYTES

Writes the seconds that it took.
"""

from __future__ import annotations

import json
import socket
import sys
import time

from benchmarks.load.http import body_length, read_head, request
from benchmarks.load.streams import drop, pour


def main(host: str, port: str, way: str, size: str) -> None:
    """Do it once."""
    begun = time.perf_counter()
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        if way == "down":
            connection.sendall(request(host, f"/{size}"))
        else:
            connection.sendall(f"PUT / HTTP/1.1\r\nHost: {host}\r\nContent-Length: {size}\r\n\r\n".encode())
            pour(connection, int(size))
        head, came = read_head(connection)
        if not head.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(f"the answer is {head!r}")
        drop(connection, body_length(head) - came)
    print(json.dumps({"seconds": time.perf_counter() - begun}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
