"""A client for tales that asks again and again, over a connection that lasts and over new ones.

    python -m tests.mesh.asker HOST PORT STOP

It asks until the file STOP is there. After each round it writes ``asked N``, and at the end one line of JSON with
how many requests were answered and the errors.
"""

from __future__ import annotations

import json
import sys
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path

BODY = "the same again"
PAUSE = 0.01
"""Seconds between two rounds: it is no load test."""


def ask(connection: HTTPConnection) -> None:
    connection.request("POST", "/again", BODY, {"X-Asker": "yes"})
    answer = connection.getresponse().read().decode()
    if answer != BODY:
        raise HTTPException(f"answered {answer!r}")


def main(host: str, port: int, stop: Path) -> None:
    answered, errors = 0, []
    lasting = HTTPConnection(host, port, timeout=20)
    lasting.connect()
    lasting.auto_open = 0  # type: ignore[assignment]  # one connection: no other in its place
    while not stop.exists():
        new = HTTPConnection(host, port, timeout=20)
        for connection in (lasting, new):
            try:
                ask(connection)
                answered += 1
            except (OSError, HTTPException) as error:
                errors.append(repr(error))
        new.close()
        print(f"asked {answered}", flush=True)
        time.sleep(PAUSE)
    print(json.dumps({"answered": answered, "errors": errors}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
