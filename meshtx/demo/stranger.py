"""A client without a certificate knocks at a sidecar, and tells what it got.

    python -m meshtx.demo.stranger ADDRESS PORT SERVER-NAME

Prints ``refused: ...`` and exits 0 if the sidecar turns it away, exits 1 if it is let in. Standard library only: it is
no part of the mesh.
"""

from __future__ import annotations

import socket
import ssl
import sys

PATIENCE = 5.0
"""Seconds."""


def knock(address: str, port: int, server_name: str) -> str | None:
    """Return how the client was turned away, ``None`` if it was not.

    In TLS 1.3 the client is done before the server has judged it: only what it reads then tells.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # it trusts anybody: the question is who trusts it
    context.set_alpn_protocols(["transport.l5d.io/v1"])
    try:
        with (
            socket.create_connection((address, port), PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname=server_name) as tls,
        ):
            return "closed" if tls.recv(1) == b"" else None
    except TimeoutError:
        return None
    except OSError as error:  # ssl.SSLError is one
        return getattr(error, "reason", None) or str(error)


if __name__ == "__main__":
    how = knock(sys.argv[1], int(sys.argv[2]), sys.argv[3])
    sys.stdout.write(f"refused: {how}\n" if how else "let in\n")
    sys.exit(0 if how else 1)
