"""Dialling the workload before its client has said what it wants, so that a server that speaks first is heard.

    silent ── grace ─▶ dialling ─▶ listening ─┬─ the workload speaks, ends or is lost ─▶ heard ─┐
       │                  │            │      └─ the client begins a ClientHello ─▶ hushed ──────┴▶ taken
       └──────────────────┴────────────┴─ the client goes, or is refused ─▶ given up

An early dial takes a `Permit` like every other: the one of a peer from there that proves nothing. It is a guess, so
their number is bounded. Past the bound a connection waits for its client's bytes, and ports where the guess is less
likely to be right reach it sooner: a flood of silent probes on one leaves places for the others.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IProtocol, IReactorTime
from twisted.python.failure import Failure

from meshtx.net.deadline import call_off
from meshtx.observe.metrics import Metrics
from meshtx.proxy.ends import End
from meshtx.proxy.speakers import Speaker, Speakers, patience

MAX_EARLY_DIALS = 256
"""Connections to the workload, at once, whose clients have not said what they want."""

_SHARE = {Speaker.CLIENT_FIRST: 1 / 2, Speaker.UNKNOWN: 3 / 4, Speaker.SERVER_FIRST: 1.0}
"""The part of the bound up to which connections to such a port may go."""


class EarlyDialResult(StrEnum):
    """What has become of an early dial."""

    SERVER_SPOKE = "server_spoke"
    """The workload spoke, or ended the connection, before its client had said anything."""
    USED = "used"
    """The client spoke, and found the connection made."""
    UNUSED = "unused"
    """The client went, was refused, or needed a connection of its own."""
    FAILED = "failed"
    """The workload could not be reached; its client was refused at once."""
    LIMIT = "limit"
    """It was not made: too many others were open."""


class EarlyDials:
    """What the early dials of one proxy have in common.

    :param limit: how many may be open at once.
    """

    def __init__(self, metrics: Metrics, limit: int = MAX_EARLY_DIALS) -> None:
        self.speakers = Speakers()
        self.open = 0
        self._metrics = metrics
        self._limit = limit

    def enter(self, port: int) -> bool:
        """Take a place for a dial to a port; return False, and count it, where there is none."""
        if self.open >= self._limit * _SHARE[self.speakers.of(port)]:
            self._metrics.early_dial(EarlyDialResult.LIMIT)
            return False
        self.open += 1
        return True

    def leave(self, result: EarlyDialResult) -> None:
        """Give a place back."""
        self.open -= 1
        self._metrics.early_dial(result)


class EarlyEnd(End):
    """The workload's end of an early dial: it is read until it is heard, or hushed.

    :param heard: called once, when it says something, ends its direction, or is lost.
    """

    def __init__(self, heard: Callable[[], None]) -> None:
        super().__init__()
        self.spoken = False
        """Something of it was read that the client has not got yet, if only its end."""
        self.gone = self._speaks
        self._heard: Callable[[], None] | None = heard

    def hush(self) -> None:
        """Read no more: what the workload says is for whoever the client proves to be."""
        self._heard = None
        if self.made.called:
            self.transport.pauseProducing()

    def connectionMade(self) -> None:
        """Listen."""
        super().connectionMade()
        if self._heard is not None:
            self.transport.resumeProducing()

    def readConnectionLost(self) -> None:
        """Take the end of what the workload says."""
        super().readConnectionLost()
        self._speaks()

    def _keep(self, data: bytes) -> None:
        super()._keep(data)
        self._speaks()

    def _speaks(self) -> None:
        self.spoken = True
        heard = self._heard
        if heard is not None:
            self.hush()
            heard()


class EarlyDial:
    """The early dial of one connection.

    :param port: as clients know it.
    :param connect: connects an end to the workload; it has a `Permit`.
    :param heard: called if the workload is the first to speak, to end the connection, or to lose it.
    :param failed: called with why the workload cannot be reached, unless `take` has been called: it says so then.
    """

    def __init__(
        self,
        dials: EarlyDials,
        port: int,
        connect: Callable[[End], Deferred[IProtocol]],
        heard: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._dials = dials
        self._port = port
        self._connect = connect
        self._heard = heard
        self._failed = failed
        self._timer: IDelayedCall | None = None
        self._far: EarlyEnd | None = None
        self._dialling: Deferred[Any] = Deferred()

    def wait(self, clock: IReactorTime, *, may_be_meshed: bool = True) -> None:
        """Dial once the client has been silent for as long as its port deserves."""
        seconds = patience(self._dials.speakers.of(self._port), may_be_meshed=may_be_meshed)
        if seconds:
            self._timer = clock.callLater(seconds, self.dial)
        else:
            self.dial()

    @property
    def made(self) -> bool:
        """The workload is being dialled, or is there."""
        return self._far is not None

    def dial(self) -> None:
        """Dial now, if there is a place."""
        if self._dials.enter(self._port):
            self._far = EarlyEnd(self._spoke)
            self._dialling = self._connect(self._far).addCallback(_nothing)
            self._dialling.addErrback(self._refused)

    def client_spoke(self) -> None:
        """Learn that the client was first, if it was."""
        if self._far is None or not self._far.spoken:
            self._dials.speakers.client_spoke(self._port)

    def hush(self) -> None:
        """The client has begun: dial no more, and read nothing of the workload until the client is understood."""
        self._stop_waiting()
        if self._far is not None:
            self._far.hush()

    async def take(self, *, unspoken: bool) -> End | None:
        """Return the workload's end, once it is connected; ``None`` where there is none that is of use.

        :param unspoken: one that has spoken already is of no use.
        :raises DialFailed: the dial was still going on, and has failed.
        """
        far = self._far
        if far is None or (unspoken and far.spoken):
            self.give_up()
            return None
        self.hush()
        self._far = far.gone = None
        self._dials.leave(EarlyDialResult.SERVER_SPOKE if far.spoken else EarlyDialResult.USED)
        await self._dialling
        return far

    def give_up(self, *, orderly: bool = False) -> None:
        """Close what was not taken; may be called again.

        :param orderly: as the client did, who has gone without a word.
        """
        self._stop_waiting()
        far, self._far = self._far, None
        if far is None:
            return
        far.gone = None
        self._dials.leave(EarlyDialResult.UNUSED)
        if not self._dialling.called:
            self._dialling.addErrback(lambda failure: failure.trap(CancelledError) and None)
            self._dialling.cancel()
        elif orderly:
            far.transport.loseConnection()
        else:
            far.transport.abortConnection()

    def _stop_waiting(self) -> None:
        timer, self._timer = self._timer, None
        call_off(timer)

    def _spoke(self) -> None:
        if self._far is not None and self._far.received:  # its end alone says nothing about the next connection
            self._dials.speakers.server_spoke(self._port)
        self._heard()

    def _refused(self, failure: Failure) -> Failure | None:
        far, self._far = self._far, None
        if far is None:  # taken, or given up
            return failure
        far.gone = None
        self._dials.leave(EarlyDialResult.FAILED)
        self._failed(cast("Exception", failure.value))
        return None


def _nothing(_: object) -> None:
    """Let the Deferred keep nothing: what it had leads back to who holds it."""
