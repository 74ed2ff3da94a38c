"""An established TLS connection, as the transport of the protocol above it.

                     TCP ──▶ records.open ──▶ protocol.dataReceived
                     TCP ◀── records.seal ◀── write

Each direction ends by itself (RFC 8446, section 6.1). Reading::

    FLOWING ◀──pause/resume──▶ PAUSED        close_notify: ──▶ ENDED, readConnectionLost
    either, when we close or fail: ──▶ DROPPING, nothing reaches the protocol any more

and writing: OPEN, then ENDING while a producer is still registered, then ENDED by close_notify.
The end of TCP without close_notify is no end but a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum, auto
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IHalfCloseableProtocol,
    IProducer,
    IProtocol,
    IPushProducer,
    IReactorTime,
    ISystemHandle,
    ITCPTransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from meshtx.net.failures import TlsError, TlsFailure
from meshtx.net.records import Close, RecordLayer
from meshtx.net.socket_records import SocketRecords
from meshtx.net.tls_tcp import Closing, ITcp, OverTcp
from meshtx.net.tls_valve import Valve

UNASKED = 2**16
"""Bytes that TLS itself may add while TCP is full: answers to a peer that asks for key updates and does not read."""

_NO_ALERT = {TlsFailure.REJECTED, TlsFailure.TRUNCATED}
"""Failures in which the peer has ended the connection: there is nobody to tell."""


class _Reading(Enum):
    FLOWING = auto()
    PAUSED = auto()
    ENDED = auto()
    DROPPING = auto()


class _Writing(Enum):
    OPEN = auto()
    ENDING = auto()
    ENDED = auto()


@implementer(ITCPTransport, IConsumer, IPushProducer, ISystemHandle)
class TlsTransport(OverTcp):
    """A transport like Twisted's own for TCP, half-close and back-pressure included.

    It never calls the protocol from within a call that the protocol makes, and never after
    `connectionLost`. `writeConnectionLost` is not called, as Twisted has it for TLS.

    :param linger: seconds without progress after which a connection that we close is aborted.
    """

    log = Logger()
    disconnecting = False
    """True from `loseConnection` on."""

    def __init__(self, tcp: ITcp, records: RecordLayer, clock: IReactorTime, linger: float) -> None:
        super().__init__(tcp)
        self._records = records
        self._direct = isinstance(records, SocketRecords)
        if isinstance(records, SocketRecords):  # whose transport seals: two calls less a chunk
            quick = records.transport
            self.write, self.write_soon = quick.write, quick.write_soon  # type: ignore[method-assign]
            self.behind = quick.reactor.behind  # type: ignore[method-assign]
        self._clock = clock
        self._linger = linger
        self._closing: Closing | None = None
        self._valve = Valve(tcp)
        self._app: IProtocol | None = None
        self._reading = _Reading.FLOWING
        self._held: bytes | None = None  # came while paused; b"": perhaps something waits in the record layer
        self._catching_up: IDelayedCall | None = None
        self._writing = _Writing.OPEN
        self._unasked = 0

    # What the pump below calls.

    def start(self, protocol: IProtocol) -> None:
        """Connect the protocol, and give it what came behind the handshake."""
        self._app = protocol
        if isinstance(self._records, SocketRecords) and hasattr(protocol, "take_head"):
            self._records.above = self
        self._valve.open()
        self._guard(protocol.makeConnection, self)
        self.received(b"")

    def received(self, cipher: bytes) -> None:
        """Take bytes from TCP."""
        if self._reading is not _Reading.FLOWING:
            self._received_aside(cipher)
            return
        records = self._records
        plain = cipher
        if not self._direct:
            plain = records.open(cipher)
            answer = records.drain()
            if answer:
                self._answer(answer)
        app = self._app
        if plain and app is not None:
            try:
                app.dataReceived(plain)
            except Exception:  # noqa: BLE001  the border to the protocol above: logged, and the connection aborted
                self._crashed()
        if records.ended is not None:
            self._input_ended()

    def take_head(self, plain: memoryview, size: int) -> int:
        """Have the protocol take the head of what it gets next, if it gets it at once, and so before anything else."""
        taker: Any = self._app
        return taker.take_head(plain, size) if self._reading is _Reading.FLOWING and taker is not None else 0

    def tcp_ended(self) -> None:
        """Take the peer's end of TCP."""
        if self._reading is _Reading.DROPPING:
            self._finish(peer_finished=True)
        elif self._records.ended is not Close.NOTIFIED:
            self.fail(TlsError(TlsFailure.TRUNCATED, "the peer ended TCP without close_notify"))

    def lost(self, reason: Failure) -> None:
        """Take the loss of TCP."""
        if self._closing is not None:
            self._closing.stop()
        if self._reading in (_Reading.FLOWING, _Reading.PAUSED) and reason.check(ConnectionDone):
            reason = Failure(TlsError(TlsFailure.TRUNCATED, "the peer ended TCP without close_notify"))
        self._report(reason)
        del self._records  # OpenSSL's memory is to go now, not when garbage is collected

    def fail(self, error: TlsError) -> None:
        """End a connection that is broken: the protocol is told at once, and the alert, if there is one, goes first."""
        if self._app is None:
            return
        self._report(Failure(error))
        if error.reason in _NO_ALERT:
            self._tcp.abortConnection()
            return
        self._valve.shut()
        self._tcp.resumeProducing()
        self._finish(peer_finished=False)

    # Reading.

    def _received_aside(self, cipher: bytes) -> None:
        if self._reading is _Reading.PAUSED:
            self._held = (self._held or b"") + cipher
        elif self._reading is _Reading.DROPPING:
            self._drop(cipher)
            if self._records.ended is Close.NOTIFIED:
                self._finish(peer_finished=True)

    def _drop(self, cipher: bytes) -> None:
        """Read on only to see the peer's end; what TLS would answer comes too late."""
        self._records.open(cipher)
        self._records.drain()

    def _answer(self, answer: bytes) -> None:
        self._tcp.write(answer)
        self._unasked = self._unasked + len(answer) if self._valve.full else 0
        if self._unasked > UNASKED:
            self.fail(TlsError(TlsFailure.OTHER, "the peer asks for more key updates than it reads"))

    def _input_ended(self) -> None:
        if self._reading is _Reading.PAUSED:
            self._held = b""
            return
        if self._reading is not _Reading.FLOWING:
            return
        ended = self._records.ended
        if isinstance(ended, TlsError):
            self.fail(ended)
            return
        self._reading = _Reading.ENDED
        half = IHalfCloseableProtocol(self._app, None)
        if half is None:
            self.loseConnection()
        else:
            self._guard(half.readConnectionLost)

    def pauseProducing(self) -> None:
        """Stop reading: nothing comes, not even the peer's end, until `resumeProducing`."""
        if self._reading is _Reading.FLOWING:
            self._reading = _Reading.PAUSED
            self._tcp.pauseProducing()
        self._do_not_catch_up()

    def resumeProducing(self) -> None:
        """Go on reading; what waits here comes in a later turn of the reactor."""
        if self._reading is not _Reading.PAUSED:
            return
        if self._held is None:
            self._reading = _Reading.FLOWING
            self._tcp.resumeProducing()
        elif self._catching_up is None:
            self._catching_up = self._clock.callLater(0, self._catch_up)

    def _do_not_catch_up(self) -> None:
        delayed, self._catching_up = self._catching_up, None
        if delayed is not None:
            delayed.cancel()

    def _catch_up(self) -> None:
        self._catching_up = None
        held, self._held = self._held, None
        self._reading = _Reading.FLOWING
        self.received(held or b"")
        if self._reading is not _Reading.PAUSED:
            self._tcp.resumeProducing()

    def stopProducing(self) -> None:
        """Close: the consumer of what we read is gone."""
        self.loseConnection()

    # Writing.

    def write(self, data: bytes) -> None:
        """Seal and send; ignored once our direction has ended."""
        if self._writing is _Writing.ENDED or not data:
            return
        try:
            cipher = self._records.seal(data)
        except TlsError as error:
            self._writing = _Writing.ENDED
            self._clock.callLater(0, self.fail, error)
            return
        self._tcp.write(cipher)

    def write_soon(self, data: bytes) -> None:
        """Send with what is written next, in this turn of the reactor at the latest, if TCP has such a way."""
        self.write(data)

    def write_pieces(self, pieces: Iterable[bytes | memoryview]) -> None:
        """Write them one after another, each from the beginning of a record: without a copy, if TCP has such a way."""
        if self._direct:
            for piece in pieces:
                self.write(piece)  # type: ignore[arg-type]  # it is TCP's, which takes both
        else:
            self.write(b"".join(pieces))

    def behind(self, call: Callable[[], object]) -> None:
        """Call when what is being done now is done: in a later turn of the reactor at the latest."""
        self._clock.callLater(0, call)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Write them joined: fewer records."""
        self.write(b"".join(iovec))

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Pause this producer while TCP is full; at once, if it is now.

        :raises RuntimeError: there is one already.
        """
        if self._app is None:
            producer.stopProducing()
        else:
            self._valve.register(producer, streaming)

    def unregisterProducer(self) -> None:
        """Forget the producer; an end that waited for it comes now."""
        if self._app is not None:
            self._valve.unregister()
        if self._writing is _Writing.ENDING:
            self._end_writing()

    # Ends.

    def loseWriteConnection(self) -> None:
        """End our direction by close_notify, once a registered producer has unregistered. Reading goes on."""
        if self._writing is not _Writing.OPEN:
            return
        if self._valve.in_use:
            self._writing = _Writing.ENDING
        else:
            self._end_writing()

    def loseConnection(self) -> None:
        """End our direction in order, then close. What the peer still sends is dropped."""
        if self.disconnecting or self._app is None:
            return
        self.disconnecting = True
        self._end_of_tcp().watch()
        if self._reading is not _Reading.ENDED:
            self._drop_rest()
        if self._writing is _Writing.ENDED:
            self._close()
        else:
            self.loseWriteConnection()

    def _drop_rest(self) -> None:
        self._do_not_catch_up()
        self._reading = _Reading.DROPPING
        self._tcp.resumeProducing()
        held, self._held = self._held, None
        if held is not None:
            self._drop(held)

    def _end_writing(self) -> None:
        self._write_no_more()
        try:
            cipher = self._records.close_notify()
        except TlsError as error:
            self._clock.callLater(0, self.fail, error)
            return
        self._tcp.write(cipher)
        if self.disconnecting:
            self._close()

    def _close(self) -> None:
        self._valve.shut()
        self._finish(peer_finished=self._records.ended is Close.NOTIFIED)

    def _finish(self, *, peer_finished: bool) -> None:
        self._end_of_tcp().finish(peer_finished=peer_finished)

    def _end_of_tcp(self) -> Closing:
        if self._closing is None:
            self._closing = Closing(self._tcp, self._clock, self._linger)
        return self._closing

    def abortConnection(self) -> None:
        """Reset TCP; the protocol hears of it in a later turn of the reactor."""
        if self._app is not None:
            self._stop()
            self._tcp.abortConnection()

    def _crashed(self) -> None:
        """Log the protocol's exception and abort the connection: what it left undone must not look whole."""
        failure = Failure()
        self.log.failure("{protocol} failed; connection aborted", failure=failure, protocol=type(self._app).__name__)
        self._tcp.abortConnection()
        self._report(failure)

    def _guard(self, call: Callable[..., object], *arguments: object) -> None:
        try:
            call(*arguments)
        except Exception:  # noqa: BLE001  as for dataReceived
            self._crashed()

    def _report(self, reason: Failure) -> None:
        """Tell producer and protocol, once, that it is over."""
        self._stop()
        app, self._app = self._app, None
        if app is None:
            return
        self._valve.lost()
        try:
            app.connectionLost(reason)
        except Exception:  # noqa: BLE001  it is over anyway: logged
            self.log.failure("{protocol} failed in connectionLost", protocol=type(app).__name__)

    def _stop(self) -> None:
        self._do_not_catch_up()
        self._write_no_more()
        if self._reading is not _Reading.ENDED:
            self._reading = _Reading.DROPPING

    def _write_no_more(self) -> None:
        self._writing = _Writing.ENDED
        self.__dict__.pop("write", None)  # the ways that go past this
        self.__dict__.pop("write_soon", None)
