"""A client for tales that sends one PING in Redis' protocol and writes the answer.

python -m tests.mesh.redis_client HOST PORT
"""

from __future__ import annotations

import socket
import sys

from tests.mesh.redis_server import PING

if __name__ == "__main__":
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), 20) as connection:
        connection.sendall(PING)
        print(connection.recv(100).decode())
