"""Listeners: every connection that they accept has a transport of ours (see `meshtx.net.transports`).

Accepting is Twisted's: up to 100 connections a turn, and a reserve descriptor so that a process without
free ones refuses connections instead of spinning. Nothing of ours runs before the next accept but the
factory's `buildProtocol` and the protocol's `connectionMade`, which must not do work.

Twisted logs each connection that it has to close for lack of a descriptor, and tells of it in no other way; here each
is counted, and a line in `WINDOW` seconds.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet import tcp
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IProtocolFactory, IReactorTime
from twisted.logger import ILogObserver, LogEvent, Logger, globalLogPublisher
from zope.interface import implementer

from meshtx.net.poller import FdSet
from meshtx.net.quick_ends import QuickServer
from meshtx.net.sockets import SocketOptions, prepared
from meshtx.net.transports import Server
from meshtx.wire.address import Address

BACKLOG = 1024
"""Connections that the kernel completes ahead of us; it applies its own limit (Linux: net.core.somaxconn)."""

MOST_ACCEPTED = 16
"""Connections that a port accepts in one turn of the reactor: Twisted would raise its own bound with each full turn."""

WINDOW = 10.0
"""Seconds for one log line of each kind about accepting: whoever connects can have Twisted write some."""

_UNSERVED = "EMFILE recovery: Closed socket from {address}"
"""Twisted's line for a connection that it has closed."""


@implementer(ILogObserver)
class _Sparing:
    """Passes on one line of a kind in each window, and how many it has left out.

    :param unserved: called for each connection that is closed for lack of a descriptor.
    """

    def __init__(self, clock: IReactorTime, unserved: Callable[[], None]) -> None:
        self._clock = clock
        self._unserved = unserved
        self._until: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def __call__(self, event: LogEvent) -> None:
        kind, now = str(event["log_format"]), self._clock.seconds()
        if kind == _UNSERVED:
            self._unserved()
        if 0 < self._until.get(kind, now) - now <= WINDOW:  # else it is over, or the clock was set back
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return
        self._until[kind] = now + WINDOW
        left_out = self._left_out.pop(kind, 0)
        if left_out:
            event = {**event, "log_format": kind + ", and {left_out} more before it", "left_out": left_out}
        globalLogPublisher(event)


class _Listening(socket.socket):
    """A listening socket that remembers what it is: Python's `accept` asks for each connection, and would look it up.

    That is a fifth of the call: 3.7 us instead of 4.5. By way of Python's private `_accept` it would be 3.5.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._family, self._type = sock.family, sock.type
        super().__init__(sock.family, sock.type, sock.proto, fileno=sock.detach())
        self.setblocking(False)

    @property
    def family(self) -> socket.AddressFamily:
        """What it was made with."""
        return self._family

    @property
    def type(self) -> socket.SocketKind:
        """What it was made with."""
        return self._type


class Port(tcp.Port):
    """A listening port; `options` are those of the connections that it accepts.

    :param unserved: see `listen`.
    :param passed: see `listen`.
    """

    _shouldShutdown = False  # noqa: N815 - Twisted's name; shutdown(2) would end it for a service manager that keeps it
    transport = Server  # type: ignore[assignment]  # Twisted calls it with the arguments of its own

    def __init__(
        self,
        address: Address,
        factory: IProtocolFactory,
        options: SocketOptions,
        backlog: int,
        reactor: Any,  # a reactor has no one type
        *,
        unserved: Callable[[], None],
        passed: socket.socket | None = None,
    ) -> None:
        super().__init__(address.port, factory, backlog, address.host, reactor)
        self.options = options
        if passed is not None:
            self._preexistingSocket = prepared(_Listening(passed), options)
        self._logger = Logger(observer=_Sparing(reactor, unserved))
        if isinstance(reactor, FdSet):
            self.transport = QuickServer

    def createInternetSocket(self) -> socket.socket:
        """Return a socket that takes only its own family, so that ``0.0.0.0`` and ``::`` can share a port."""
        sock = prepared(_Listening(super().createInternetSocket()), self.options)
        if self.addressFamily == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        return sock

    def doRead(self) -> None:
        """Accept the connections that wait, `MOST_ACCEPTED` at most; the others have their turn behind other events."""
        self.numberAccepts = MOST_ACCEPTED
        super().doRead()

    def accept_backlog(self) -> None:
        """Accept the connections that the kernel has completed, `BACKLOG` at most: closing the socket resets them."""
        self.numberAccepts = BACKLOG
        super().doRead()


def listen(
    reactor: Any,
    address: Address,
    factory: IProtocolFactory,
    options: SocketOptions,
    backlog: int = BACKLOG,
    *,
    unserved: Callable[[], None] = lambda: None,
    passed: socket.socket | None = None,
) -> Port:
    """Listen on an address and return the port.

    :param reactor: `IReactorFDSet` and `IReactorTime`. (Any: a reactor has no one type.)
    :param address: port 0 means any free one; `getHost` of what is returned tells which.
    :param unserved: called for each connection that is closed as soon as it came, for lack of a descriptor.
    :param passed: a socket that listens on the address already; the port has it from now on.
    :raises twisted.internet.error.CannotListenError: the address is taken, not ours, or not permitted; or a socket that
        was passed refuses an option.
    """
    try:
        port = Port(address, factory, options, backlog, reactor, unserved=unserved, passed=passed)
    except OSError as error:
        raise CannotListenError(address.host, address.port, error) from error
    port.startListening()
    return port
