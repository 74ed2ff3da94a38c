"""Listeners: every connection that they accept has a transport of ours (see `meshtx.net.transports`).

Accepting is Twisted's: up to 100 connections a turn, and a reserve descriptor so that a process without
free ones refuses connections instead of spinning. Nothing of ours runs before the next accept but the
factory's `buildProtocol` and the protocol's `connectionMade`, which must not do work.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import tcp
from twisted.internet.interfaces import IListeningPort, IProtocolFactory

from meshtx.net.poller import FdSet
from meshtx.net.quick import QuickServer
from meshtx.net.sockets import SocketOptions, prepared
from meshtx.net.transports import Server
from meshtx.wire.address import Address

BACKLOG = 1024
"""Connections that the kernel completes ahead of us; it applies its own limit (Linux: net.core.somaxconn)."""


class Port(tcp.Port):
    """A listening port; `options` are those of the connections that it accepts."""

    transport = Server  # type: ignore[assignment]  # Twisted calls it with the arguments of its own

    def __init__(
        self, address: Address, factory: IProtocolFactory, options: SocketOptions, backlog: int, reactor: Any
    ) -> None:  # Any: a reactor has no one type
        super().__init__(address.port, factory, backlog, address.host, reactor)
        self.options = options
        if isinstance(reactor, FdSet):
            self.transport = QuickServer

    def createInternetSocket(self) -> socket.socket:
        """Return a socket that takes only its own family, so that ``0.0.0.0`` and ``::`` can share a port."""
        sock = prepared(super().createInternetSocket(), self.options)
        if self.addressFamily == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        return sock


def listen(
    reactor: Any, address: Address, factory: IProtocolFactory, options: SocketOptions, backlog: int = BACKLOG
) -> IListeningPort:
    """Listen on an address and return the port.

    :param reactor: `IReactorFDSet` and `IReactorTime`. (Any: a reactor has no one type.)
    :param address: port 0 means any free one; `getHost` of what is returned tells which.
    :raises twisted.internet.error.CannotListenError: the address is taken, not ours, or not permitted.
    """
    port = Port(address, factory, options, backlog, reactor)
    port.startListening()
    return port
