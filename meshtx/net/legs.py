"""Legs: application connections between two proxies, inside mutual TLS (ALPN ``meshtx/1``, docs/legs.md).

    LegClient ── OPEN ──▶ LegServer ─▶ opened(Open, LegCall)
              ◀─ ACCEPT ──                    ├ accept(protocol): it gets a `LegStream`
              ◀─ REFUSE ──                    └ refuse(reason)

Frames are `meshtx.wire.leg_frames`, their order is `meshtx.wire.leg_state`; here they only move. A leg carries
one connection after another: with both FINs a connection is over, and its protocol hears so at once; the leg is
idle. However a connection ends without them, its protocol loses it with a failure: `LegReset`, `LegTruncated`,
`LegMalformed`, `LegRefused`, or what the transport below says.

What both ends have in common, and the server's; `meshtx.net.leg_client` has the client's.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from meshtx.errors import PeerError
from meshtx.net.deadline import Deadline
from meshtx.net.leg_book import LegOwner
from meshtx.net.leg_stream import MAX_HELD, LegStream
from meshtx.net.tls_tcp import ITcp
from meshtx.wire.leg_frames import (
    DATA,
    HEAD,
    MAX_PAYLOAD,
    Accept,
    Data,
    Fin,
    Frame,
    FrameParser,
    Open,
    Refuse,
    Reset,
    Retire,
    data_pieces,
    encode,
    encode_data,
)
from meshtx.wire.leg_state import TABLE, Input, Role, State, Table
from meshtx.wire.malformed import Malformed

SILENCE = 90.0
"""Seconds that a server waits for OPEN: longer than a client keeps an idle leg, so it is the client who ends it."""

RETIRED = 5.0
"""Seconds that a server waits for the client to close, after RETIRE."""

LINGER = 60.0
"""Seconds for the peer's FIN after the application has closed: what Linux gives a TCP connection (tcp_fin_timeout)."""

_RECEIVED = {
    Open: Input.RECV_OPEN,
    Accept: Input.RECV_ACCEPT,
    Refuse: Input.RECV_REFUSE,
    Data: Input.RECV_DATA,
    Fin: Input.RECV_FIN,
    Reset: Input.RECV_RESET,
    Retire: Input.RECV_RETIRE,
}
_ACCEPT, _FIN = Accept(), Fin()

_WITH_DATA = {Input.SEND_OPEN, Input.SEND_ACCEPT}
"""What bytes of the application follow soon, as a rule: they go in one record."""

_BETWEEN = {State.IDLE, State.RETIRED, State.RETIRING}
"""States in which no connection is on the leg."""


class LegError(PeerError):
    """A connection on a leg did not end in order."""


class LegRefused(LegError):
    """The peer's proxy refused it; nothing reached the application.

    :param reason: as the peer says it: printable ASCII.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"refused by the peer's proxy: {reason}")
        self.reason = reason


class LegReset(LegError):
    """The peer cut it."""


class LegTruncated(LegError):
    """The leg ended before the peer's FIN."""


class LegMalformed(LegError):
    """The peer broke the protocol.

    :param reason: how.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"protocol error: {reason}")
        self.reason = reason


@implementer(IHalfCloseableProtocol)
class LegEnd(Protocol):
    """What both ends have in common: the parser, the state, the present stream, the deadline."""

    table: Table
    """What may come when."""
    transport: ITcp
    lasting = True
    """The connection below carries many, for `TlsProtocol` to keep less of its beginning."""

    def __init__(self, clock: IReactorTime) -> None:
        self.state = State.IDLE
        self.may_send = False
        self._may_receive = False
        self._clock = clock
        self._parser = FrameParser()
        self._stream: LegStream | None = None
        self._deadline = Deadline(clock)
        self._aborted = False

    def connectionMade(self) -> None:
        """Remember the transport."""
        self.below = self.transport

    def dataReceived(self, data: bytes) -> None:
        """Take frames."""
        if self._may_receive and self._stream is not None:
            plain = self._parser.plain(data)
            if plain is not None:
                self._stream.received(plain)
                return
        for event in self._parser.receive_data(data):
            if self.state is State.DEAD:
                return
            if type(event) is Data and self._may_receive and self._stream is not None:
                self._stream.received(event.data)  # the inner loop: such a row of the table leads to itself
            elif isinstance(event, Malformed):
                self._kill(event.reason)
            else:
                self._take(event)

    def take_head(self, data: memoryview, size: int) -> int:
        """Take the head of what comes next, as `FrameParser` does."""
        return self._parser.take_head(data, size)

    def readConnectionLost(self) -> None:
        """Take the end of the peer's direction: after the leg's, or amidst a connection."""
        self._step(Input.RECV_END)
        if self.state is State.DEAD:
            self._end(Failure(LegTruncated("the leg ended without FIN")))
            self.below.abortConnection()
        else:
            self.below.loseConnection()

    def writeConnectionLost(self) -> None:
        """Nothing follows from the end of our own direction."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Take the loss of the transport; what is still going on over the leg ends with it."""
        self._deadline.stop()
        if isinstance(reason.value, ConnectionDone):
            if self.state is not State.CLOSED:
                self._step(Input.RECV_END)
            if self.state is State.DEAD:
                reason = Failure(LegTruncated("the leg ended without FIN"))
        if self._aborted:
            reason = Failure(ConnectionAborted())
        self._end(reason)

    # What a stream calls.

    def send(self, data: bytes) -> None:
        """Send bytes of the application."""
        size = len(data)
        if 0 < size <= MAX_PAYLOAD:
            self.transport.write(HEAD.pack(DATA | size) + data)
        elif hasattr(self.below, "write_pieces"):
            self.below.write_pieces(data_pieces(data))
        else:
            self.transport.write(encode_data(data))

    def finish(self) -> None:
        """Send FIN."""
        self._send(Input.SEND_FIN, _FIN)
        if self.state in _BETWEEN:
            self._over(by_peer=False)

    def linger(self) -> None:
        """Bound the wait for the peer's FIN."""
        self._deadline.set(LINGER, self.abort)

    def abort(self) -> None:
        """End the connection, and the leg, by RESET; the transport bounds how long that may take to be sent."""
        self._aborted = True
        self._deadline.clear()
        if (self.state, Input.SEND_RESET) in self.table:
            self._send(Input.SEND_RESET, Reset())
            self.below.loseConnection()
        else:
            self.below.abortConnection()

    def overflow(self) -> None:
        """Break the leg off."""
        self._kill(f"more than {MAX_HELD} bytes came through a pause")

    def soon(self, call: Callable[[], None]) -> None:
        """Call when what is being done now is done."""
        behind = getattr(self.below, "behind", None)
        if behind is not None:
            behind(call)
        else:
            self._clock.callLater(0, call)

    # Inside.

    def _take(self, frame: Frame) -> None:
        before = self.state
        self._step(_RECEIVED[type(frame)])
        if self.state is State.DEAD:
            self._kill(f"{type(frame).__name__} in state {before.name}")
        elif type(frame) is Fin:
            self._finished()
        else:
            self._received(frame)

    def _finished(self) -> None:
        """Take the peer's FIN; one that came too late has no effect."""
        if self._stream is None or self.state is State.WE_RESET:
            return
        if self.state in _BETWEEN:
            self._over(by_peer=True)
        else:
            self._stream.finished()

    def _received(self, frame: Frame) -> None:
        """Act on any other frame that the table allows, where it is not too late for it."""
        if isinstance(frame, Reset):
            self._end(Failure(LegReset("reset by the peer")))
            self.below.loseConnection()

    def _over(self, *, by_peer: bool) -> None:
        """Both have sent FIN: end the connection, which has nothing to do with the leg any more.

        :param by_peer: the second FIN was the peer's.
        """
        self._deadline.clear()
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.over(by_peer=by_peer)
        self._idle()

    def _idle(self) -> None:
        """Go on with no connection."""

    def _send(self, what: Input, frame: Frame) -> None:
        self._step(what)
        write = self.below.write
        (getattr(self.below, "write_soon", write) if what in _WITH_DATA else write)(encode(frame))

    def _step(self, what: Input) -> None:
        table = self.table
        self.state = state = table[self.state, what]
        self.may_send = (state, Input.SEND_DATA) in table
        self._may_receive = (state, Input.RECV_DATA) in table

    def _kill(self, reason: str) -> None:
        self.state = State.DEAD
        self.may_send = self._may_receive = False
        self._end(Failure(LegMalformed(reason)))
        self.below.abortConnection()

    def _end(self, reason: Failure) -> None:
        """End the present connection, if there is one."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.end(reason)


class LegCall:
    """A connection that a client asks for. Answer it once, by `accept` or `refuse`.

    Until then at most 256 KiB of it is held: once something has come of it no more is read.
    """

    def __init__(self, leg: LegServer, stream: LegStream) -> None:
        self._leg = leg
        self._stream = stream
        self._answered = False

    def on_lost(self, call: Callable[[Failure], None]) -> None:
        """Have this called if the connection is lost before it is answered."""
        self._stream.on_lost = call

    def accept(self, protocol: IProtocol) -> None:
        """Send ACCEPT and connect the protocol; if the leg is gone, it is connected and loses the connection."""
        self._answer()
        self._leg.accept()
        self._stream.start(protocol)

    def refuse(self, reason: str) -> None:
        """Send REFUSE and end the leg.

        :param reason: a word for the peer's log; no secret.
        """
        self._answer()
        self._leg.refuse(reason)

    def _answer(self) -> None:
        if self._answered:
            raise RuntimeError("a call is answered once")
        self._answered = True
        self._stream.on_lost = None


class LegServer(LegEnd):
    """The end that was dialled.

    :param opened: called for each OPEN.
    :param owner: keeps account of it.
    :param clock: measures the silence.
    """

    table = TABLE[Role.SERVER]

    def __init__(
        self, opened: Callable[[Open, LegCall], None], owner: LegOwner[LegServer], clock: IReactorTime
    ) -> None:
        super().__init__(clock)
        self._opened = opened
        self._owner = owner
        self._carried = False

    def connectionMade(self) -> None:
        """Wait for OPEN."""
        super().connectionMade()
        self._idle()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Take the loss of the transport."""
        super().connectionLost(reason)
        self._owner.gone(self)

    def accept(self) -> None:
        """Answer the present call by ACCEPT; nothing if it is lost."""
        if (self.state, Input.SEND_ACCEPT) in self.table:
            self._send(Input.SEND_ACCEPT, _ACCEPT)

    def refuse(self, reason: str) -> None:
        """Answer the present call by REFUSE and close; nothing if it is lost."""
        if (self.state, Input.SEND_REFUSE) in self.table:
            self._send(Input.SEND_REFUSE, Refuse(reason))
            self._stream = None
            self.below.resumeProducing()
            self.below.loseConnection()

    def retire(self) -> None:
        """Ask for no further connection on this leg; the present one goes on, as does one that is on its way."""
        if (self.state, Input.SEND_RETIRE) in self.table:
            self._send(Input.SEND_RETIRE, Retire())
            if self.state in _BETWEEN:
                self._deadline.set(RETIRED, self.below.loseConnection)

    def _received(self, frame: Frame) -> None:
        if not isinstance(frame, Open):
            super()._received(frame)
        elif self.state is not State.WE_RESET:
            if self._carried:
                self._deadline.clear()  # it will be set again soon
            else:
                self._carried = True
                self._deadline.stop()  # the first connection may be the only one, for hours: no timer waits with it
            self._stream = LegStream(self)
            self._owner.busy(self)
            self._opened(frame, LegCall(self, self._stream))

    def _idle(self) -> None:
        """Wait for the client's next OPEN, or its close, for a while."""
        self._deadline.set(SILENCE if self.state is State.IDLE else RETIRED, self.below.loseConnection)
        self._owner.idle(self)
