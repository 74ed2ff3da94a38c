"""An application for pods: asks a service again and again, over a new connection each time, until it is killed.

    python -m tests.kube.caller HOST PORT

Writes a line for each request: when it was sent (seconds since the epoch), then ``ok`` and who has answered, or
``failed`` and why.
"""

from __future__ import annotations

import sys
import time
from http.client import HTTPConnection, HTTPException

PAUSE = 0.02
"""Seconds between two requests: it is no load test."""


def ask(host: str, port: int) -> str:
    connection = HTTPConnection(host, port, timeout=10)
    try:
        connection.request("GET", "/who")
        return f"ok {connection.getresponse().read().decode().strip()}"
    except (OSError, HTTPException) as error:
        return f"failed {error!r}"
    finally:
        connection.close()


def main(host: str, port: int) -> None:
    while True:
        begun = time.time()
        print(f"{begun:.3f} {ask(host, port)}", flush=True)
        time.sleep(PAUSE)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
