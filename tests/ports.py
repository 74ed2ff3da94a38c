"""Ports that a program is told before it listens on them."""

from __future__ import annotations

import socket


def reserve_port(host: str = "127.0.0.1") -> socket.socket:
    """Return a socket that keeps a port for a server, until it is closed.

    Meanwhile the kernel gives that port to nobody who asks for any, be it to listen or as the source of a connection.
    A server that sets SO_REUSEADDR can listen there (socket(7)): it is bound, and nobody listens on it.
    """
    kept = socket.socket()
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind((host, 0))
    return kept
