"""An accepted connection whose first bytes are awaited."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IProtocol,
    IReactorTime,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from meshtx.net.deadline import call_off
from meshtx.net.quick import QuickTransport
from meshtx.wire.client_hello import ClientHelloSniffer, Hello, NotTls, read_whole


@implementer(IHalfCloseableProtocol)
class Arrival(Protocol):
    """Keeps the first bytes until it is certain whether they are a ClientHello, then gives the transport away.

    :param accepted: called with this, once there is a transport.
    :param patience: seconds until the first bytes are judged as they are.
    """

    transport: ITCPTransport

    def __init__(self, accepted: Callable[[Arrival], None], clock: IReactorTime, patience: float) -> None:
        self.held = b""
        """What has been read so far; at most what the sniffer takes for a hello."""
        self.gone: Callable[[], None] | None = None
        """Called if the connection is lost before it was given away."""
        self.leaves: Callable[[Hello], bool] | None = None
        """Says of a ClientHello whether TLS is to find it unread, if it has come whole."""
        self.begins: Callable[[], None] | None = None
        """Called when bytes have come that do not say yet what they are."""
        self.finishes: Callable[[], bool] | None = None
        """Called when the client has ended its direction, though nothing is certain; says whether it gets an answer."""
        self.orderly = False
        """The connection was lost, and in order."""
        self._accepted = accepted
        self._clock = clock
        self._patience = patience
        self._sniffer = ClientHelloSniffer()
        self._seen: Callable[[Hello | NotTls | None], None] | None = None
        self._deadline: IDelayedCall | None = None

    @property
    def kept(self) -> int:
        """Bytes of memory that are held for what was read."""
        return len(self.held) + self._sniffer.held

    @property
    def begun(self) -> bool:
        """What was read begins a TLS record."""
        return self._sniffer.begun

    def sniff(self, seen: Callable[[Hello | NotTls | None], None]) -> None:
        """Call back once with what the first bytes are, ``None`` if that is not certain in time."""
        self._seen = seen
        self._deadline = self._clock.callLater(self._patience, self._judge, None)

    def become(self, protocol: IProtocol) -> None:
        """Give the transport to another protocol; what was read is in `held`."""
        self.release()
        self.transport.protocol = protocol  # type: ignore[attr-defined]  # of every transport, of no interface
        protocol.makeConnection(self.transport)

    def take_back(self) -> None:
        """Have the transport again, from one that is done with it."""
        self.transport.protocol = self  # type: ignore[attr-defined]  # of every transport, of no interface

    def release(self) -> None:
        """Wait no more: somebody else takes the transport."""
        self._seen = self.gone = self.begins = self.leaves = self.finishes = None
        deadline, self._deadline = self._deadline, None  # one that has come leads back here
        call_off(deadline)

    def connectionMade(self) -> None:
        """Tell who awaits it."""
        if isinstance(self.transport, QuickTransport):
            self.transport.look(self._leave)
        self._accepted(self)

    def _leave(self, data: bytes) -> bool:
        if self._seen is None or self.leaves is None:
            return False
        hello = read_whole(data)
        if hello is None or not self.leaves(hello):
            return False
        self._judge(hello)
        return True

    def dataReceived(self, data: bytes) -> None:
        """Look at more."""
        self.held += data
        seen = self._sniffer.receive_data(data)
        if seen is not None:
            self._judge(seen)
        elif self.begins is not None:
            self.begins()

    def readConnectionLost(self) -> None:
        """End too, unless there is an answer to a client that has nothing to say."""
        if self.finishes is None or not self.finishes():
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Nothing follows from the end of our own direction."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell that nothing more comes."""
        self.orderly = reason.check(ConnectionDone) is not None
        gone = self.gone
        self.release()
        if gone is not None:
            gone()

    def _judge(self, what: Hello | NotTls | None) -> None:
        seen, self._seen = self._seen, None
        if seen is not None:
            seen(what)
