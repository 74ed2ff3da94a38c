"""The command of ``meshtx run`` in tests: asks on new connections and on a lasting one, then sends bytes and ends.

    python -m tests.mesh.run_client HOST PORT SINK_PORT REQUESTS

Its last words are `LAST` bytes to SINK_PORT; it ends as soon as the kernel has taken them. Before them it writes a
line of JSON: how many requests were answered, and the errors.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from http.client import HTTPConnection, HTTPException

LAST = 1 << 20
"""Bytes."""
TIMEOUT = 30.0
"""Seconds for one answer."""


def ask(connection: HTTPConnection, body: str) -> None:
    connection.request("POST", "/", body)
    answer = connection.getresponse().read().decode()
    if answer != body:
        raise HTTPException(f"answered {answer!r}")


def main(host: str, port: int, sink: int, requests: int) -> None:
    answered, errors = 0, []
    lasting = HTTPConnection(host, port, timeout=TIMEOUT)
    for number in range(requests):
        new = HTTPConnection(host, port, timeout=TIMEOUT)
        try:
            ask(lasting if number % 2 else new, f"{os.getpid()} {number}")
            answered += 1
        except (OSError, HTTPException) as error:
            errors.append(repr(error))
            lasting.close()
        new.close()
    last = None
    try:
        last = socket.create_connection((host, sink), TIMEOUT)
    except OSError as error:
        errors.append(repr(error))
    print(json.dumps({"answered": answered, "errors": errors}), flush=True)
    if last is not None:
        last.sendall(bytes(LAST))
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
