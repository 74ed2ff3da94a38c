"""What the programs of the lab agree on."""

from __future__ import annotations

import asyncio
import resource
import socket

TLS_PORT = 443
CLEAR_PORT = 8080
GREETING_PORT = 3306
BANNER = b"5.5.5-of-the-lab\n"
SHOP = "shop.example"
"""The name that clients of the application's own TLS ask for."""
BACKLOG = 4096


def raise_descriptor_limit() -> None:
    """Let this process have as many descriptors as the system lets it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def from_address(source: str) -> socket.socket:
    """Return a socket that will connect from this address; its port is chosen late, by what it connects to."""
    sock = socket.socket()
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
    sock.bind((source, 0))
    return sock


async def connect(source: str, address: str, port: int) -> socket.socket:
    """Connect from one address to another.

    :raises OSError: refused, or no answer.
    """
    sock = from_address(source)
    try:
        await asyncio.get_running_loop().sock_connect(sock, (address, port))
    except BaseException:
        sock.close()
        raise
    return sock
