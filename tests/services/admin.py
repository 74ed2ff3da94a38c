"""The admin site of a program, asked for its metrics by whomever a test says."""

from __future__ import annotations

from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransport

from meshtx.services.listening import Listeners


def metrics_status(listeners: Listeners, peer: str) -> int:
    """Return the HTTP status of the answer to a client at an address."""
    (site,) = (each.factory for each in listeners.wanted if each.key == "admin_listen")
    address = IPv4Address("TCP", peer, 50_000)
    transport = StringTransport(peerAddress=address)
    channel = site.buildProtocol(address)
    assert channel is not None
    channel.makeConnection(transport)
    channel.dataReceived(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    return int(transport.value().split()[1])
