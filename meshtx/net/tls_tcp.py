"""The TCP connection below TLS: what TLS needs of it, what passes through, and how it ends."""

from __future__ import annotations

import socket
import sys
from typing import cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IPushProducer,
    IReactorTime,
    ISystemHandle,
    ITCPTransport,
)

from meshtx.net.deadline import call_off

_BYTES_ACKED = slice(120, 128)
"""Where Linux has ``tcpi_bytes_acked`` in its ``tcp_info`` (since 4.1)."""


class ITcp(ITCPTransport, IConsumer, IPushProducer, ISystemHandle):
    """What TLS needs of the transport below: what Twisted's own TCP transports are."""


class OverTcp:
    """What a transport over TCP leaves to TCP."""

    def __init__(self, tcp: ITcp) -> None:
        self._tcp = tcp

    def getPeer(self) -> IPv4Address | IPv6Address:
        """Return the peer's address."""
        return self._tcp.getPeer()

    def getHost(self) -> IPv4Address | IPv6Address:
        """Return our own address."""
        return self._tcp.getHost()

    def getHandle(self) -> object:
        """Return the socket."""
        return self._tcp.getHandle()

    def getTcpNoDelay(self) -> bool:
        """Return what TCP is set to."""
        return self._tcp.getTcpNoDelay()

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Set it on TCP."""
        self._tcp.setTcpNoDelay(enabled)

    def getTcpKeepAlive(self) -> bool:
        """Return what TCP is set to."""
        return self._tcp.getTcpKeepAlive()

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Set it on TCP."""
        self._tcp.setTcpKeepAlive(enabled)


class Closing:
    """The orderly end of one TCP connection, with a bound.

    A socket that is closed while bytes of the peer wait unread sends a reset, and what it had not
    yet sent, or the peer not yet read, is lost: the last of an answer, or the alert that says what is
    wrong. So close the sending direction first, read and drop what still comes, and close when the
    peer has ended too.

    :param patience: seconds without the peer taking a byte of ours after which the connection is aborted.
    """

    __slots__ = ("_acknowledged", "_clock", "_patience", "_tcp", "_timer")

    def __init__(self, tcp: ITcp, clock: IReactorTime, patience: float) -> None:
        self._tcp = tcp
        self._clock = clock
        self._patience = patience
        self._acknowledged = 0
        self._timer: IDelayedCall | None = None

    def watch(self) -> None:
        """Begin to measure progress: from here on the end is bounded."""
        if self._timer is None:
            self._acknowledged = _acknowledged(self._tcp)
            self._timer = self._clock.callLater(self._patience, self._look)

    def finish(self, *, peer_finished: bool) -> None:
        """End our direction behind what is written; all of it if the peer has ended its own."""
        self.watch()
        if peer_finished:
            self._tcp.loseConnection()
        else:
            self._tcp.loseWriteConnection()

    def stop(self) -> None:
        """Forget it: the connection is gone."""
        timer, self._timer = self._timer, None  # one that has come leads back here
        call_off(timer)

    def _look(self) -> None:
        acknowledged = _acknowledged(self._tcp)
        if acknowledged == self._acknowledged:
            self._tcp.abortConnection()
            return
        self._acknowledged = acknowledged
        self._timer = self._clock.callLater(self._patience, self._look)


def _acknowledged(tcp: ITcp) -> int:
    """Return how many bytes the peer has taken; always the same where the system does not say."""
    try:
        handle = cast("socket.socket", tcp.getHandle())
        info = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.stop)
    except (AttributeError, OSError):  # another system, another kind of transport, or the connection is gone
        return 0
    return int.from_bytes(info[_BYTES_ACKED], sys.byteorder)
