"""Comes to a proxy that lets in peers of the mesh alone, and is none: without a certificate, or without TLS.

    python -m benchmarks.load.strangers ADDRESS PORT SERVER_NAME ANCHORS SECONDS RATE

So many come a second, one after another. Writes how many were refused (``done``), and let in (``failed``).
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.load.http import request

PATIENCE = 10.0
"""Seconds in which one must be refused."""


@dataclass
class Stranger:
    """Who comes.

    :param context: has the anchors that the proxy shows a path to, and no certificate.
    """

    address: tuple[str, int]
    server_name: str
    context: ssl.SSLContext

    def without_certificate(self) -> bool:
        """Say whether TLS without a certificate is let in; the server's verdict comes behind the handshake.

        :raises ssl.SSLCertVerificationError: the server is not who it should be.
        """
        with socket.create_connection(self.address, PATIENCE) as tcp:
            try:
                with self.context.wrap_socket(tcp, server_hostname=self.server_name) as tls:
                    tls.sendall(request(self.server_name))
                    return bool(tls.recv(1))
            except ssl.SSLCertVerificationError:
                raise  # that was us, and not the proxy
            except (ssl.SSLError, ConnectionError):
                return False

    def without_tls(self) -> bool:
        """Say whether a request in plaintext is answered."""
        with socket.create_connection(self.address, PATIENCE) as tcp:
            try:
                tcp.sendall(request(self.server_name))
                return tcp.recv(5) == b"HTTP/"
            except ConnectionError:
                return False

    def come(self, seconds: float, rate: float) -> tuple[int, int]:
        """Come again and again; return how often it was refused, and let in."""
        kinds: tuple[Callable[[], bool], ...] = (self.without_certificate, self.without_tls)
        begun, refused, taken = time.monotonic(), 0, 0
        while (late := time.monotonic() - begun) < seconds:
            number = refused + taken
            time.sleep(max(0.0, number / rate - late))
            if kinds[number % len(kinds)]():
                taken += 1
            else:
                refused += 1
        return refused, taken


def main(host: str, port: str, *how: str) -> None:
    """Come, and write what was seen."""
    server_name, anchors, seconds, rate = how
    stranger = Stranger((host, int(port)), server_name, ssl.create_default_context(cafile=anchors))
    refused, taken = stranger.come(float(seconds), float(rate))
    print(json.dumps({"done": refused, "failed": taken}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
