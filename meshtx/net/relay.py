"""The relay: two connections become one, byte for byte, ending for ending.

    near                                     far
     │ bytes ──────────────────────────────▶ │   `on_data` of the end that they came from sees them first
     │ EOF: FIN, close_notify, leg's FIN ──▶ │   half-close; the other direction goes on
     │ EOF from both                         │   each side sends what it still has and closes in order
     │ anything else that ends a side ─────▶ │   abort: a reset, a RESET, never an orderly end

An end goes through these states from left to right; the three in the middle may be skipped:

    CONNECTING ─▶ OPEN ─▶ FINISHED ─▶ CLOSING ─▶ LOST
                           its EOF     the relay
                           was seen    ends it

An end that is lost in order after its EOF has said everything: the other sends that and is closed. A
close in order that no EOF announced is a cut, like any other loss.

An end works on every transport with the methods of Twisted's `ITCPTransport`, `IConsumer` and `IPushProducer`:
plain TCP, TLS, a leg. Each end is the push producer of the other's transport: a transport with more than
64 KiB unsent stops the reading on the other side, so a direction holds that and one read, below 384 KiB.

An end that is not being read sees neither FIN nor RST. That is bounded on both occasions: before `join` by
the caller's deadlines for dialling and handshakes; afterwards because reading stops only while the other
side has bytes to write, and the kernel ends a peer that takes nothing for `SocketOptions.user_timeout`. One whose EOF
was read is not read any more either; its transport tells that it is lost all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import cast

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IConsumer, IHalfCloseableProtocol, IPushProducer, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

MAX_EARLY = 256 * 1024
"""Bytes that an end keeps if its transport delivers some although it was paused; past it, it is aborted."""


class IStream(ITCPTransport, IConsumer, IPushProducer):
    """What a relay, or any protocol of ours, may expect of a transport, be it TCP, TLS or a leg.

    A protocol above it that provides `IHalfCloseableProtocol` is told of the peer's EOF by `readConnectionLost`
    and may go on writing; a loss that comes without it was a cut.
    """


@dataclass(frozen=True, slots=True)
class RelayResult:
    """What a relay has done.

    :param sent: bytes read from the near end.
    :param received: bytes read from the far end.
    :param error: what ended it first, ``None`` if both sides ended in order.
    """

    sent: int
    received: int
    error: Exception | None


class _State(Enum):
    __hash__ = object.__hash__  # that of Enum is Python code

    CONNECTING = "connecting"
    OPEN = "open"
    FINISHED = "finished"
    CLOSING = "closing"
    LOST = "lost"


@implementer(IHalfCloseableProtocol, IPushProducer)
class RelayEnd(Protocol):
    """One end of a relay; reads nothing until it is joined with another.

    :param on_data: sees all bytes from this end, a prefix included, before they go to the other. If it raises,
        that is logged and it is not called again.
    :param on_lost: called with the reason if the end is lost before it is joined; later `join` has the word.
    """

    log = Logger()
    transport: IStream

    def __init__(self, on_data: Callable[[bytes], None] | None, on_lost: Callable[[Failure], None] | None) -> None:
        self.received = 0
        self.state = _State.CONNECTING
        self.lost: Failure | None = None
        self._watcher = on_data
        self._on_data: Callable[[bytes], None] | None = None  # the watcher, while bytes are flowing
        self._on_lost = on_lost
        self._early: list[bytes] | None = None
        self._relay: _Relay | None = None
        self._paused = False

    @property
    def on_data(self) -> Callable[[bytes], None] | None:
        """Who sees the bytes: to be set before `join`, ``None`` at any time."""
        return self._watcher

    @on_data.setter
    def on_data(self, watcher: Callable[[bytes], None] | None) -> None:
        self._watcher = watcher
        if watcher is None:
            self._on_data = None

    # The transport of this end calls:

    def connectionMade(self) -> None:
        """Wait, unread, for the other end."""
        self.state = _State.OPEN
        self.transport.pauseProducing()
        if self._relay is not None:
            self._relay.connected()

    def dataReceived(self, data: bytes) -> None:
        """Pass bytes on. The inner loop: whatever can be decided or looked up before, was."""
        self.received += len(data)
        if self._on_data is not None:
            try:
                self._on_data(data)
            except Exception:  # noqa: BLE001  # a border: an observer, perhaps a user's, must not end the connection
                self._on_data = None
                self.log.failure("an observer failed; the connection goes on without it")
        self._write(data)

    def readConnectionLost(self) -> None:
        """Pass on that this side will send no more."""
        if self.state is _State.OPEN:
            self.state = _State.FINISHED
            if self._relay is not None:
                self._relay.finished(self)

    def writeConnectionLost(self) -> None:
        """Our own half-close has gone out; nothing follows from it."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Pass on that this side is gone."""
        before, self.state = self.state, _State.LOST
        self.lost = reason
        if before is not _State.CLOSING:
            self._stop()
        if self._relay is None:
            self.lost_alone(reason)
        else:
            self._on_lost = None
            self._relay.lost(self, before)

    def lost_alone(self, reason: Failure) -> None:
        """Tell of a loss before it was joined."""
        on_lost, self._on_lost = self._on_lost, None  # it may lead back to this end: no cycle is to be left
        if on_lost is not None:
            on_lost(reason)

    # The transport of the other end calls, whose bytes this end produces:

    def pauseProducing(self) -> None:
        """Read no more: the other side's buffer is full."""
        self._paused = True
        if self.state is _State.OPEN:
            self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read on, unless the EOF was read: a second one would follow."""
        self._paused = False
        if self.state is _State.OPEN:
            self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """Do nothing: the other side is lost, and its `connectionLost` decides how this one ends."""

    # The relay calls:

    def attach(self, relay: _Relay) -> None:
        """Belong to a relay from now on.

        :raises ValueError: it belongs to one.
        """
        if self._relay is not None:
            raise ValueError("an end is joined only once")
        self._relay = relay

    def detach(self) -> None:
        """Belong to none any more, so that no cycle keeps a finished connection in memory."""
        self._relay = None

    def flow_to(self, other: RelayEnd, prefix: bytes) -> None:
        """Send on to the other what is here already, and from now on all that comes; nothing is read yet."""
        if self.state in {_State.CLOSING, _State.LOST}:
            return  # what the other end sent first has ended it
        other.transport.registerProducer(self, True)
        early, self._early = self._early, None
        here = prefix if early is None else b"".join([prefix, *early])
        self.received = 0
        self._on_data = self._watcher
        self._write = other.transport.write  # type: ignore[method-assign]  # the inner loop asks nothing
        if here:
            self.dataReceived(here)

    def read(self) -> None:
        """Begin to read, unless the other side is full with what it got already."""
        if not self._paused:
            self.resumeProducing()

    def finish(self) -> None:
        """Send what there is, then EOF."""
        self.transport.unregisterProducer()  # a paused producer would hold back the EOF for ever
        self.transport.loseWriteConnection()

    def close(self) -> None:
        """Send what there is, then close in order."""
        self._end()
        self.transport.loseConnection()

    def cut(self) -> None:
        """Reset the connection, if the relay is not ending it already."""
        if self.state in {_State.OPEN, _State.FINISHED}:
            self._end()
            self.transport.abortConnection()

    def _end(self) -> None:
        self.state = _State.CLOSING
        self._stop()
        self.transport.unregisterProducer()

    def _stop(self) -> None:
        self._early = None
        self._on_data = self._watcher = None
        self._write = _discard  # type: ignore[method-assign]

    def _write(self, data: bytes) -> None:
        """Keep what comes early. No attribute, by which an end that is never connected would lead back to itself."""
        self._keep(data)

    def _keep(self, data: bytes) -> None:
        if self._early is None:
            self._early = []
        self._early.append(data)
        if self.received > MAX_EARLY:
            self._stop()
            self.transport.abortConnection()


class _Relay:
    __slots__ = ("_ended", "_error", "_far", "_flowing", "_near", "_prefix")

    def __init__(self, near: RelayEnd, far: RelayEnd, ended: Callable[[RelayResult], None], prefix: bytes) -> None:
        self._near = near
        self._far = far
        self._ended: Callable[[RelayResult], None] | None = ended
        self._prefix = prefix
        self._error: BaseException | None = None
        self._flowing = False

    def begin(self) -> None:
        """Start, or end at once, as far as the ends are there or gone already."""
        for end in (self._near, self._far):
            if end.state is _State.LOST:
                self.lost(end, before=_State.OPEN)
        self.connected()

    def connected(self) -> None:
        """Let the bytes flow once both ends are there."""
        states = {self._near.state, self._far.state}
        if _State.LOST in states:
            self._near.cut()
            self._far.cut()
        elif _State.CONNECTING not in states:
            self._flow()

    def _flow(self) -> None:
        self._flowing = True
        self._near.flow_to(self._far, self._prefix)
        self._prefix = b""
        self._far.flow_to(self._near, b"")
        for end in (self._near, self._far):
            if end.state is _State.FINISHED:
                self.finished(end)
            end.read()

    def finished(self, end: RelayEnd) -> None:
        """Pass on an EOF; after the second one nothing is left to wait for."""
        if not self._flowing:
            return  # it is passed on when the bytes before it have been
        other = self._far if end is self._near else self._near
        if other.state is _State.FINISHED:
            end.close()
            other.close()
        else:
            other.finish()

    def lost(self, end: RelayEnd, before: _State) -> None:
        """Let the other end go the same way.

        :param before: the state in which the end was lost.
        """
        assert end.lost is not None
        other = self._far if end is self._near else self._near
        orderly = isinstance(end.lost.value, ConnectionDone)
        if self._error is None and not (orderly and before in {_State.FINISHED, _State.CLOSING}):
            self._error = end.lost.value
        if orderly and before is _State.FINISHED and other.state is _State.OPEN:
            other.close()
        elif before is not _State.CLOSING:
            other.cut()
        if {self._near.state, self._far.state} <= {_State.LOST, _State.CONNECTING}:
            self._finish()

    def _finish(self) -> None:
        ended, self._ended = self._ended, None
        for end in (self._near, self._far):
            if end.state is _State.LOST:
                end.detach()
        if ended is not None:
            ended(RelayResult(self._near.received, self._far.received, cast("Exception | None", self._error)))


def join(near: RelayEnd, far: RelayEnd, ended: Callable[[RelayResult], None], prefix: bytes = b"") -> None:
    """Make one connection of two.

    An end that is still being connected joins in when it is; the other stays unread until then. If it never
    is, abort the near end's transport: that ends the relay.

    :param ended: called once, when both ends are gone (or one is, and the other never came).
    :param prefix: bytes that were read from the near end before; they go to the far end first.
    :raises ValueError: an end was joined before.
    """
    relay = _Relay(near, far, ended, prefix)
    near.attach(relay)
    far.attach(relay)
    relay.begin()


def _discard(data: bytes) -> None:
    """Drop bytes that came after the end was decided: there is nobody to take them."""
