"""The client's end of a leg, and what it does about one that proves dead: the connection goes on over another.

idle leg ── OPEN, DATA ──▶ ?       kept until the answer, at most `MAX_KEPT`
         ◀── ACCEPT                the application is there: nothing is kept any more
         ◀── the leg is lost       soon (`PROMPT`), and its peer says so within TLS, so nothing has reached the
                                   application: the same once more, over a new leg
         ◀── REFUSE                the end; or the same again elsewhere, where others serve the same
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IProducer, IProtocol, IPushProducer, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from meshtx.net.failures import TlsError, TlsFailure
from meshtx.net.leg_book import LegOwner
from meshtx.net.leg_stream import LegStream
from meshtx.net.legs import LegEnd, LegMalformed, LegRefused, LegReset, LegTruncated
from meshtx.net.tls_tcp import ITcp
from meshtx.wire.leg_frames import Accept, Frame, Open, Refuse, Retire
from meshtx.wire.leg_state import TABLE, Input, Role, State

MAX_KEPT = 256 * 1024
"""Bytes kept of a connection until it is answered; one that sends more is not begun again."""

PROMPT = 5.0
"""Seconds after OPEN in which the loss of a leg shows that it was dead before. A later one tells less: an ACCEPT may
have been lost with it."""


class Elsewhere(Protocol):
    """The others that serve the same as the peer of a connection."""

    @property
    def request(self) -> Open:
        """What is asked of the present peer."""

    def moves(self, error: BaseException) -> bool:
        """Turn to the next one, if the present one failed in a way that lets another be tried; say whether."""


class LegClient(LegEnd):
    """The end that dialled.

    :param made: called once it is connected.
    :param owner: keeps account of it.
    :param clock: bounds the wait for the peer after a protocol has closed.
    """

    table = TABLE[Role.CLIENT]

    def __init__(self, made: Callable[[LegClient], None], owner: LegOwner[LegClient], clock: IReactorTime) -> None:
        super().__init__(clock)
        self._made: Callable[[LegClient], None] | None = made
        self._owner = owner
        self._replay: Replay | None = None

    @property
    def free(self) -> bool:
        """It may carry a connection now."""
        return self.state is State.IDLE

    def connectionMade(self) -> None:
        """Tell that it is there."""
        super().connectionMade()
        made, self._made = self._made, None  # it may lead back here: no cycle is to be left
        if made is not None:
            made(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Take the loss of the transport."""
        super().connectionLost(reason)
        self._owner.gone(self)

    def open(self, request: Open, protocol: IProtocol, replay: Replay | None = None) -> None:
        """Ask for a connection.

        :param protocol: gets a `LegStream` at once: what it writes may follow OPEN before the answer is there.
        :param replay: saves the connection if the leg proves dead.
        """
        if replay is not None:
            replay.ride(self)
        stream = LegStream(replay or self)
        self.carry(request, stream, replay)
        stream.start(protocol)

    def carry(self, request: Open, stream: LegStream, replay: Replay | None = None) -> None:
        """Ask for the connection of this stream.

        :raises RuntimeError: the leg is not free.
        """
        if not self.free:
            raise RuntimeError(f"a leg in state {self.state.name} carries no further connection")
        self._send(Input.SEND_OPEN, request)
        self._stream, self._replay = stream, replay
        self._owner.busy(self)

    def close(self) -> None:
        """End an idle leg; one that has ended already is left alone."""
        if (self.state, Input.SEND_END) in self.table:
            self._step(Input.SEND_END)
            self.below.loseConnection()

    def _received(self, frame: Frame) -> None:
        match frame:
            case Accept() if self._replay is not None and self._stream is not None:
                self._replay = None
                self._stream.move(self)
            case Refuse(reason) if self.state is State.REFUSED:
                self._end(Failure(LegRefused(reason)))
                self.below.loseConnection()
            case Retire() if self.state is State.RETIRED:
                self.close()
            case _:
                super()._received(frame)

    def _idle(self) -> None:
        self._owner.idle(self)
        if self.state is State.RETIRED:
            self.close()

    def _end(self, reason: Failure) -> None:
        stream, (replay, self._replay) = self._stream, (self._replay, None)
        if stream is not None and replay is not None and replay.saves(reason):
            self._stream = None
            replay.begin(stream, reason)
        else:
            super()._end(reason)


class Replay:
    """The leg of a connection that has no answer yet, as its stream sees it: what is sent is kept as well.

    :param connect: called for a new leg if this one proves dead, or refuses and there are others.
    :param prompt: seconds in which a loss shows that the leg was dead before; negative: it is new, so it was not.
    :param elsewhere: the others; `connect` then goes to whom it says.
    """

    def __init__(
        self,
        request: Open,
        connect: Callable[[], Deferred[LegClient]],
        clock: IReactorTime,
        prompt: float = PROMPT,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._request = request
        self._connect = connect
        self._clock = clock
        self._until = clock.seconds() + prompt
        self._elsewhere = elsewhere
        self._leg: LegClient | None = None
        self._kept: list[bytes] | None = []
        self._bytes = 0
        self._finished = False
        self._search: _Search | None = None

    def ride(self, leg: LegClient) -> None:
        """Send by this leg."""
        self._leg = leg

    def saves(self, reason: Failure) -> bool:
        """Say whether a connection that was lost for this reason is to be begun again."""
        if self._kept is None or reason.check(LegMalformed, ConnectionAborted) is not None:
            return False
        if reason.check(LegRefused) is not None:
            return self._elsewhere is not None and self._elsewhere.moves(cast("LegRefused", reason.value))
        return self._clock.seconds() <= self._until and (not self._kept or _is_vouched_for(reason))

    def begin(self, stream: LegStream, reason: Failure) -> None:
        """Look for another leg; until it is there the stream takes what is kept, and no more.

        :param reason: what it is lost for if it sends too much meanwhile.
        """
        self._leg = None
        self._search = _Search(stream, reason)
        stream.move(self)
        if self._search is not None:  # what the stream still had to say was not too much
            self._search.found = self._connect()
            self._search.found.addCallbacks(self._go_on, self._fail)

    def _go_on(self, leg: LegClient) -> None:
        search, self._search = self._search, None
        assert search is not None  # else it was cancelled
        assert self._kept is not None
        onward: LegClient | Replay = leg
        if self._elsewhere is None:
            leg.carry(self._request, search.stream)
        else:  # it may be refused again
            onward, self._leg, self._until = self, leg, float("-inf")
            leg.carry(self._elsewhere.request, search.stream, self)
        for data in self._kept:
            leg.send(data)
        if self._finished:
            leg.finish()
        if search.stream.disconnecting:
            leg.linger()
        search.stream.move(onward)

    def _fail(self, reason: Failure) -> None:
        search, self._search = self._search, None
        if search is not None:
            search.stream.end(reason)

    # What the stream calls.

    @property
    def below(self) -> ITcp:
        """The transport of the leg, or what stands for it while there is none."""
        return cast("ITcp", _Nowhere()) if self._leg is None else self._leg.below

    @property
    def may_send(self) -> bool:
        """True until FIN."""
        return not self._finished if self._leg is None else self._leg.may_send

    def send(self, data: bytes) -> None:
        """Keep, and send."""
        if self._kept is not None:
            self._kept.append(data)
            self._bytes += len(data)
            if self._bytes > MAX_KEPT:
                self._kept = None
                self._give_up()
        if self._leg is not None:
            self._leg.send(data)

    def finish(self) -> None:
        """The same with FIN."""
        self._finished = True
        if self._leg is not None:
            self._leg.finish()

    def linger(self) -> None:
        """The application has closed: the wait for another leg is bounded already."""
        if self._leg is not None:
            self._leg.linger()

    def abort(self) -> None:
        """End the connection, and the leg or the search for one."""
        if self._leg is not None:
            self._leg.abort()
        elif self._search is not None:
            self._search.reason = Failure(ConnectionAborted())
            self._give_up()

    def overflow(self) -> None:
        """Break the leg off."""
        if self._leg is not None:
            self._leg.overflow()

    def soon(self, call: Callable[[], None]) -> None:
        """Call in a later turn of the reactor."""
        self._clock.callLater(0, call)

    def _give_up(self) -> None:
        """End the search, if there is one; the protocol hears of it later, for it may be what has called."""
        search, self._search = self._search, None
        if search is not None:
            self.soon(lambda: search.stream.end(search.reason))
            if search.found is not None:
                search.found.cancel()


def _is_vouched_for(reason: Failure) -> bool:
    """Tell whether the peer itself has ended the leg.

    TLS keeps the order, so it has sent no ACCEPT then. A reset or an end of TCP alone proves nothing: who is on the way
    can have let the client's bytes pass, and held back what came of them.
    """
    match reason.value:
        case LegReset() | LegTruncated():
            return True
        case TlsError(reason=why):
            return why is TlsFailure.REJECTED
        case _:
            return False


class _Search:
    """For another leg."""

    def __init__(self, stream: LegStream, reason: Failure) -> None:
        self.stream = stream
        self.reason = reason
        self.found: Deferred[LegClient] | None = None


class _Nowhere:
    """Stands for the transport of a stream that has no leg: it takes nothing, and gives nothing."""

    def __init__(self) -> None:
        self._producer: IPushProducer | None = None

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:  # noqa: ARG002 - all of ours are
        """Pause it."""
        self._producer = cast("IPushProducer", producer)
        self._producer.pauseProducing()

    def unregisterProducer(self) -> None:
        """Let it go on."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.resumeProducing()

    def pauseProducing(self) -> None:
        """Nothing comes."""

    def resumeProducing(self) -> None:
        """Nothing comes."""
