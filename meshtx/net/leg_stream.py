"""One application connection on a leg, as the transport of the protocol above it.

                leg ──▶ received, finished, end ──▶ [held while paused] ──▶ protocol
                leg ◀── DATA, FIN, RESET ◀──────── write, loseWriteConnection, abortConnection

Back-pressure is that of the transport below: who registers here as a producer is registered there, and a
pause here is one there, but for that at the beginning: it goes below when something comes. What is held is what came
in one read: with the pause, behind an OPEN, or with what was the first to come.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    IProducer,
    IProtocol,
    IPushProducer,
    ISystemHandle,
    ITCPTransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from meshtx.net.tls_tcp import ITcp, OverTcp

MAX_HELD = 256 * 1024
"""Bytes kept for a protocol that is paused, or not there yet; past it the leg is broken off."""

_Held = bytes | Failure | None
"""Bytes, the peer's FIN, or the end."""

_NOTHING: deque[_Held] = deque(maxlen=0)
"""What streams hold that hold nothing: there may be thousands, and an empty deque takes 760 bytes."""


class Leg(Protocol):
    """What a stream needs of its leg."""

    @property
    def below(self) -> ITcp:
        """The transport that carries the leg."""

    @property
    def may_send(self) -> bool:
        """True while DATA and FIN may be sent."""

    def send(self, data: bytes) -> None:
        """Send bytes of the application."""

    def finish(self) -> None:
        """Send FIN."""

    def linger(self) -> None:
        """The application has closed: bound the wait for the peer's FIN."""

    def abort(self) -> None:
        """End the connection, and the leg, by RESET."""

    def overflow(self) -> None:
        """Break the leg off: too much is held."""

    def soon(self, call: Callable[[], None]) -> None:
        """Call in a later turn of the reactor."""


@implementer(ITCPTransport, IConsumer, IPushProducer, ISystemHandle)
class LegStream(OverTcp):
    """A transport like Twisted's own for TCP, half-close and back-pressure included.

    `loseConnection` sends FIN and drops what still comes; `connectionLost` follows once both have sent FIN, in
    order. A loss without the peer's FIN is always a failure.
    """

    disconnecting = False
    """True from `loseConnection` on."""

    def __init__(self, leg: Leg) -> None:
        super().__init__(leg.below)
        self.on_lost: Callable[[Failure], None] | None = None
        """Called if the end comes before there is a protocol."""
        self._leg = leg
        self._app: IProtocol | None = None
        self._held = _NOTHING
        self._held_bytes = 0
        self._paused = True
        self._steers = False  # pauses and resumes the transport below: from its start until the next one may come
        self._ended = False
        self._producer: IProducer | None = None
        self._ending = False
        self._short = False  # `received` is the protocol's own, for the time being

    # What the leg calls.

    def start(self, protocol: IProtocol) -> None:
        """Connect the protocol, and give it what has come already."""
        self._app = protocol
        self._paused = False
        protocol.makeConnection(self)
        self._steers = not self._ended
        self._go_on()

    def received(self, data: bytes) -> None:
        """Take bytes of the peer's application."""
        if self.disconnecting:
            return
        if not self._paused and self._app is not None:
            self._app.dataReceived(data)
            return
        self._hold(data)
        self._held_bytes += len(data)
        self._tcp.pauseProducing()
        if self._held_bytes > MAX_HELD:
            self._leg.overflow()

    def finished(self) -> None:
        """Take the peer's FIN."""
        if not self.disconnecting:
            self._give(None)

    def over(self, *, by_peer: bool) -> None:
        """Both sides have finished: hand on what is held, then the end, and leave the leg alone from now on.

        :param by_peer: the peer was the last one to finish; else the protocol was, and is told in a later turn.
        """
        self._let_go()
        self._tcp.resumeProducing()
        if by_peer:
            self.finished()
            self._give(Failure(ConnectionDone()))
        else:
            self._hold(Failure(ConnectionDone()))
            self._leg.soon(self._deliver)

    def end(self, reason: Failure) -> None:
        """Take the end: an orderly one behind what is held, any other at once and instead of it."""
        if not isinstance(reason.value, ConnectionDone):
            self._drop()
        self._let_go()
        on_lost = self.on_lost if self._app is None else None
        self._give(reason)
        if on_lost is not None:
            on_lost(reason)

    def _let_go(self) -> None:
        self._stop_producer()  # else the transport below could not close: what it waits for never comes
        self._take_aside()  # else it would lead back here
        self._ended, self._steers = True, False

    def move(self, leg: Leg) -> None:
        """Go on over another leg: paused there as it is here, and with the producer."""
        before, self._leg, self._tcp = self._tcp, leg, leg.below
        if self._tcp is before:
            return
        if self._paused:
            self._tcp.pauseProducing()
        producer, self._producer = self._producer, None
        if producer is not None:
            before.unregisterProducer()
            self.registerProducer(producer, True)

    # Reading.

    def pauseProducing(self) -> None:
        """Stop reading: nothing comes, not even the peer's FIN, until `resumeProducing`."""
        self._paused = True
        self._take_aside()
        if self._steers:
            self._tcp.pauseProducing()

    def resumeProducing(self) -> None:
        """Go on reading, with what is held here first."""
        self._paused = False
        self._go_on()

    def stopProducing(self) -> None:
        """Do nothing: the consumer of what we read is lost, and who joined the two decides how this one ends."""

    def _go_on(self) -> None:
        if self._held:
            self._deliver()
        if self._steers and not self._paused:
            self._take_straight()
            self._tcp.resumeProducing()

    def _take_straight(self) -> None:
        """Have the leg give what comes to the protocol: a call less a chunk."""
        if self._app is not None and not self._short and not self.disconnecting:
            self.received = self._app.dataReceived  # type: ignore[method-assign]
            self._short = True

    def _take_aside(self) -> None:
        if self._short:
            del self.received
            self._short = False

    def _hold(self, what: _Held) -> None:
        if self._held is _NOTHING:
            self._held = deque()
        self._held.append(what)

    def _give(self, what: _Held) -> None:
        """Tell the protocol, behind what is held already."""
        if self._held or self._paused or self._app is None:
            self._hold(what)
        else:
            self._tell(self._app, what)

    def _deliver(self) -> None:
        while self._held and not self._paused and self._app is not None:
            self._tell(self._app, self._held.popleft())
        if not self._held:
            self._held = _NOTHING

    def _tell(self, app: IProtocol, what: _Held) -> None:
        if isinstance(what, bytes):
            self._held_bytes -= len(what)
            app.dataReceived(what)
        elif what is not None:
            self._app = None
            app.connectionLost(what)
        elif (half := IHalfCloseableProtocol(app, None)) is not None:
            half.readConnectionLost()
        else:
            self.loseConnection()

    def _drop(self) -> None:
        """Hold nothing any more for the protocol but the end, if that has come."""
        end = self._held[-1] if self._ended and self._held else None
        self._held = _NOTHING
        self._held_bytes = 0
        self._paused = False
        if end is not None:
            self._hold(end)
            self._leg.soon(self._deliver)

    # Writing.

    def write(self, data: bytes) -> None:
        """Send; ignored once our direction has ended."""
        if self._leg.may_send and not self._ended:
            self._leg.send(data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Write them joined: fewer frames."""
        self.write(b"".join(iovec))

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Pause this producer while the transport below is full.

        :raises RuntimeError: there is one already.
        """
        if self._ended or not self._leg.may_send:
            producer.stopProducing()
            return
        self._tcp.registerProducer(producer, streaming)
        self._producer = producer

    def unregisterProducer(self) -> None:
        """Forget the producer; a FIN that waited for it goes now."""
        self._stop_producer()
        if self._ending:
            self._finish()

    def _stop_producer(self) -> None:
        if self._producer is not None:
            self._producer = None
            self._tcp.unregisterProducer()

    # Ends.

    def loseWriteConnection(self) -> None:
        """End our direction by FIN, once a registered producer has unregistered. Reading goes on."""
        self._ending = True
        if self._producer is None:
            self._finish()

    def _finish(self) -> None:
        self._ending = False
        if self._leg.may_send and not self._ended:
            self._leg.finish()

    def loseConnection(self) -> None:
        """End our direction in order. What the peer still sends is dropped, and the wait for its FIN bounded."""
        if self.disconnecting:
            return
        self.disconnecting = True
        self._take_aside()
        self._drop()
        if self._ended:
            return
        if self._steers:
            self._tcp.resumeProducing()
        self.loseWriteConnection()
        if not self._ended:
            self._leg.linger()

    def abortConnection(self) -> None:
        """Cut the connection: RESET, and the end of the leg. The protocol hears of it later."""
        self.disconnecting = True
        self._take_aside()
        self._drop()
        if not self._ended:
            self._stop_producer()
            self._leg.abort()
