"""An application that can be probed over HTTP, gRPC and TCP, and that stops to listen at SIGUSR1 though it runs on."""

from __future__ import annotations

import argparse
import signal
import socket
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc

SERVING = b"\x08\x01"
"""A ``grpc.health.v1.HealthCheckResponse``."""


class Handler(BaseHTTPRequestHandler):
    """Healthy at one path."""

    def do_GET(self) -> None:  # the name that http.server calls
        """Answer."""
        self.send_response(200 if self.path == "/healthy" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # as it is called
        """Say nothing of a request."""


class Health(grpc.GenericRpcHandler):
    """The health service, and nothing else."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """Return what serves a call."""
        if details.method != "/grpc.health.v1.Health/Check":
            return None
        return grpc.unary_unary_rpc_method_handler(lambda request, context: SERVING)


def main() -> None:
    """Serve HTTP, gRPC and TCP at this port and the next two, until the end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8080)
    port = parser.parse_args().port
    server = grpc.server(futures.ThreadPoolExecutor(2), [Health()])
    server.add_insecure_port(f"0.0.0.0:{port + 1}")
    server.start()
    listener = socket.create_server(("0.0.0.0", port + 2))  # a pod's address is not known before
    threading.Thread(target=ThreadingHTTPServer(("0.0.0.0", port), Handler).serve_forever).start()
    signal.signal(signal.SIGUSR1, lambda *_: listener.close())
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
