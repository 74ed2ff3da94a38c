"""A server for tales that speaks Redis as far as to answer ``+PONG`` to each PING.

python -m tests.mesh.redis_server ADDRESS PORT
"""

from __future__ import annotations

import socketserver
import sys

PING = b"*1\r\n$4\r\nPING\r\n"


class Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while self.rfile.read(len(PING)) == PING:
            self.wfile.write(b"+PONG\r\n")


if __name__ == "__main__":
    with socketserver.ThreadingTCPServer((sys.argv[1], int(sys.argv[2])), Handler) as server:
        print("serving", flush=True)
        server.serve_forever()
