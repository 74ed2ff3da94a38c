"""An HTTP/1.1 server that ends as a good one does: it serves on for a while, closes what it answers, and stops.

It answers with the pod's name and the address of the peer, as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    stopping = threading.Event()

    def do_GET(self) -> None:  # the name that http.server calls
        """Answer."""
        body = json.dumps({"pod": os.uname().nodename, "peer": self.client_address[0]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        if self.stopping.is_set():
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # as it is called
        """Say nothing of a request."""


class Server(ThreadingHTTPServer):
    """One that many may connect to at once."""

    request_queue_size = 128
    daemon_threads = True


def main() -> None:
    """Serve until the signal, and for the seconds of ``--drain``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--drain", type=float, default=3.0)
    options = parser.parse_args()
    server = Server(("0.0.0.0", options.port), Handler)  # a pod's address is not known before

    def stop(*_: object) -> None:
        Handler.stopping.set()
        threading.Timer(options.drain, os._exit, [0]).start()

    signal.signal(signal.SIGTERM, stop)
    server.serve_forever()


if __name__ == "__main__":
    main()
