"""A connection of ours on each kind of transports, and a plain socket as its peer.

The kinds are what `meshtx.net.poller.registrar` gives: Twisted's transports on the reactor, and quick ones on a poller
in it, or on the reactor itself where that is ours (``trial --reactor meshtx``, which has no others).
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, TestCase
from zope.interface import implementer

from meshtx.net.dial import Dialler
from meshtx.net.listen import listen
from meshtx.net.poller import FdSet, Poller, Transports, registrar
from meshtx.net.sockets import SocketOptions
from meshtx.wire.address import Address

ANY = Address.parse("127.0.0.1:0")
BIG = 8 * 1024 * 1024
"""Bytes: more than the kernel holds for a peer that does not read."""


class End(Protocol):
    """Says when it is connected and lost, and keeps what it got."""

    def __init__(self) -> None:
        self.made: Deferred[End] = Deferred()
        self.lost: Deferred[BaseException | None] = Deferred()
        self.got = b""
        self._waiting: list[tuple[int, Deferred[None]]] = []

    def connectionMade(self) -> None:
        self.made.callback(self)

    def dataReceived(self, data: bytes) -> None:
        self.got += data
        for entry in [entry for entry in self._waiting if len(self.got) >= entry[0]]:
            self._waiting.remove(entry)
            reactor.callLater(0, entry[1].callback, None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.callback(reason.value)

    def has(self, size: int) -> Deferred[None]:
        """Fire once that many bytes have come."""
        waiting: Deferred[None] = Deferred()
        if len(self.got) >= size:
            waiting.callback(None)
        else:
            self._waiting.append((size, waiting))
        return waiting


@implementer(IHalfCloseableProtocol)
class HalfCloseable(End):
    def __init__(self) -> None:
        super().__init__()
        self.eof: Deferred[None] = Deferred()

    def readConnectionLost(self) -> None:
        self.eof.callback(None)

    def writeConnectionLost(self) -> None:
        pass


class Peer:
    """The other side: a plain socket, read in a thread until it ends."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(10)

    def read_to_the_end(self) -> tuple[int, str]:
        """Return how many bytes came, and how it ended: ``eof`` or ``reset``."""
        data, ending = self.take()
        return len(data), ending

    def take(self) -> tuple[bytes, str]:
        """Return the bytes that came, and how it ended."""
        parts = []
        try:
            while data := self.sock.recv(1 << 20):
                parts.append(data)
        except ConnectionResetError:
            return b"".join(parts), "reset"
        return b"".join(parts), "eof"

    def take_exactly(self, size: int) -> bytes:
        """Return that many bytes."""
        data = b""
        while len(data) < size:
            data += self.sock.recv(size - len(data))
        return data

    def reset(self) -> None:
        """End by a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()


class Accepted:
    """Connections that we accept; mixed into a `TransportCase`."""

    async def connect(self: Any, end: End) -> Peer:
        """Connect an end of ours with a peer."""
        port = listen(self.io, ANY, Factory.forProtocol(lambda: end), SocketOptions())
        self.addCleanup(port.stopListening)
        peer = Peer(await deferToThread(socket.create_connection, ("127.0.0.1", port.getHost().port)))
        await end.made
        return self.kept(end, peer)


class Dialled:
    """Connections that we dial; mixed into a `TransportCase`."""

    async def connect(self: Any, end: End) -> Peer:
        """Connect an end of ours with a peer."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            await Dialler(self.io, SocketOptions(), 5.0).dial(Address.of(*listener.getsockname()), end)
            return self.kept(end, Peer(listener.accept()[0]))


def registered(transports: Transports) -> Any:
    """Return what connections of this kind are registered with.

    :raises SkipTest: the reactor has no such ones.
    """
    if transports is Transports.TWISTED and isinstance(reactor, FdSet):
        raise SkipTest("this reactor has quick transports only")
    return registrar(reactor, transports)


class TransportCase(TestCase):
    """A test that says which transports it is about."""

    timeout = 20
    transports = Transports.QUICK

    connect: Callable[[End], Any]  # of `Accepted` or `Dialled`

    def setUp(self) -> None:
        self.io = registered(self.transports)
        self.addCleanup(lambda: ensureDeferred(self.assert_idle()))

    async def assert_idle(self) -> None:
        """Check that a poller of ours watches nothing any more; the reactor's own is trial's to check."""
        await turns()  # out of the batch in which the last connection ended
        if isinstance(self.io, Poller):
            self.assertEqual(self.io.removeAll(), [])
            self.assertNotIn(self.io, reactor.getReaders())

    def kept(self, end: End, peer: Peer) -> Peer:
        """End both when the test does."""

        def end_ours() -> Deferred[Any] | None:
            if end.lost.called:
                return None
            end.transport.abortConnection()
            return end.lost

        self.addCleanup(end_ours)
        self.addCleanup(peer.sock.close)
        return peer


def unsent(transport: Any) -> int:
    """Return how many bytes our side of a connection holds, outside the kernel."""
    return len(transport.dataBuffer) - transport.offset + transport._tempDataLen


def turns(seconds: float = 0.0) -> Deferred[None]:
    """Let the reactor turn."""
    return deferLater(reactor, seconds, lambda: None)
