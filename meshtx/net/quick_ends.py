"""The two kinds of quick transport: of a connection that was accepted, and of one that is dialled."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any, cast

from twisted.internet import tcp
from twisted.internet.address import IPv6Address
from twisted.internet.error import ConnectBindError, ConnectError, getConnectError
from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure

from meshtx.net.quick import QuickTransport
from meshtx.net.transports import INHERITED, Client, Server


class QuickServer(QuickTransport, Server):
    """The transport of an accepted connection.

    Nothing is asked of the kernel before the protocol has said whether it wants to read: what a client has sent behind
    its SYN is here by then, as a rule, and is read without an event.
    """

    _begun = False
    _beginning = True

    def __init__(self, sock: socket.socket, *arguments: Any) -> None:  # Any: as Twisted calls it
        if not INHERITED:
            super().__init__(sock, *arguments)
            return
        protocol, self.client, self.server, self.sessionno, reactor = arguments
        tcp.Connection.__init__(self, sock, protocol, reactor)
        self.hostname = self.client[0]
        if len(self.client) != 2:
            self._addressType = IPv6Address
        self.connected = True
        reactor.behind(self._begin)

    def __repr__(self) -> str:
        return f"<{type(self.protocol).__name__} #{self.sessionno}>" if self.connected else "<a lost connection>"

    def resumeProducing(self) -> None:
        """Read on, or for the first time."""
        if self._begun:
            super().resumeProducing()
            return
        self._reads = True
        if not self._beginning:
            self._beginning = True
            self.reactor.behind(self._begin)

    def _begin(self) -> None:
        self._beginning = False
        if self._reads:
            self._begun = True
            super().resumeProducing()
            self.reactor.try_reading(self)


class QuickClient(QuickTransport, Client):
    """The transport of a dialled connection to a numeric address; `begin` dials."""

    def __init__(self, host: str, port: int, _bound: Any, connector: Any, reactor: Any) -> None:  # as Twisted has it
        self.connector = connector
        address: Any = (host, port)
        if ":" in host:
            self.addressFamily = socket.AF_INET6
            self._addressType = IPv6Address  # type: ignore[assignment]  # as Twisted does
            address = (host, port, 0, 0)
        self.addr = self.realAddress = address
        try:
            sock = self.createInternetSocket()
        except OSError as refused:
            self.reactor = reactor
            self._failed = ConnectBindError(*refused.args[:2])
        else:
            tcp.Connection.__init__(self, sock, cast("IProtocol", None), reactor)  # that comes with the connection

    _failed: ConnectError | None = None

    def begin(self) -> None:
        """Connect without waiting for another turn.

        An address of this host has answered by the time that the kernel says "in progress": so it is asked again.
        """
        if self._failed is not None:
            self.failIfNotConnected(self._failed)
            return
        result = self.socket.connect_ex(self.realAddress)
        if result == errno.EINPROGRESS:
            result = self.socket.connect_ex(self.realAddress)
        if result in {0, errno.EISCONN}:
            self._made()
        elif result in {errno.EINPROGRESS, errno.EALREADY}:
            self.doConnect()  # Twisted's, which waits for events
        else:
            self.failIfNotConnected(getConnectError((result, os.strerror(result))))

    def _connect_protocol(self) -> None:
        """The same as Twisted's, which makes an address of its peer's and a name for the log."""
        self.protocol = self.connector.buildProtocol(None)
        self.connected = True
        self.protocol.makeConnection(self)
        if self._reads:
            self.resumeProducing()

    def _made(self) -> None:
        try:
            self._connectDone()
        except Exception:  # noqa: BLE001  the border to the protocol, as in the poller: logged, and it is lost
            self.log.failure("{transport} failed", transport=self)
            self.connectionLost(Failure())

    def connectionLost(self, reason: Failure) -> None:
        """End, and tell the dialler if it was no connection yet."""
        if not self.connected:
            self.failIfNotConnected(ConnectError(string=reason))
            return
        super().connectionLost(reason)
        connector = self.connector
        del self.connector
        connector.connectionLost(reason)
