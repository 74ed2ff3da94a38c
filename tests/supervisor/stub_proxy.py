"""In a proxy's place: an admin port and nothing else.

    python -m tests.supervisor.stub_proxy PORT EVENTS MODE

It appends what happens to the file EVENTS: ``proxy PID`` at the start, ``proxy stops`` at SIGTERM. MODE: ``ready``;
``never`` is it ready; ``fails`` with status 3 and ``leaves`` with status 0 at SIGUSR1; ``stays`` at SIGTERM; ``ends``
at once.
"""

from __future__ import annotations

import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

READY, NEVER, FAILS, LEAVES, STAYS, ENDS = "ready", "never", "fails", "leaves", "stays", "ends"


def main(port: int, events: Path, mode: str) -> None:
    def note(event: str) -> None:
        with events.open("a") as file:
            file.write(f"{event}\n")

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503 if mode == NEVER else 200)
            self.end_headers()
            self.wfile.write(b"not ready: it is a stub\n")

        def log_message(self, *_: object) -> None:
            pass

    def stop(*_: object) -> None:
        note("proxy stops")
        if mode != STAYS:
            os._exit(0)

    if mode == ENDS:
        sys.exit(3)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGUSR1, lambda *_: os._exit(3 if mode == FAILS else 0))
    server = HTTPServer(("127.0.0.1", port), Site)
    print("a line of the proxy's log", flush=True)
    note(f"proxy {os.getpid()}")
    server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
