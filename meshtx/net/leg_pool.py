"""The legs of the client's side, kept for the connections to come: a handshake is paid once for many.

    connection ─▶ an idle leg to the peer ─▶ OPEN at once ─▶ ... ─▶ both FINs ─▶ idle again
               └▶ none: the caller's own handshake, whose leg comes here afterwards

    idle ─▶ closed   by new credentials, the peer's expiry, its age, `IDLE` without use, or the number of idle ones

The last one used is taken first, so that few are kept. To a peer in recent use one is kept ready: where none is
idle, another is opened in the background, and after failures less and less often.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, cast

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IDelayedCall, IProtocol, IReactorTime
from twisted.python.failure import Failure

from meshtx.net.deadline import Deadline
from meshtx.net.dial import DialFailed
from meshtx.net.failures import without_frames
from meshtx.net.leg_book import Entry, Hold, LegBook, LegCounts, Retirement
from meshtx.net.leg_client import PROMPT, Elsewhere, LegClient, Replay
from meshtx.pki.name import Name
from meshtx.wire.address import Address
from meshtx.wire.leg_frames import Open

IDLE = 60.0
"""Seconds that a leg is kept without use; a peer not used for so long gets no spare one either."""

AGE = 600.0
"""Seconds after its handshake until which a leg may begin to carry a connection."""

MAX_IDLE = 256
"""Idle legs, to all peers together: 10 MB. Past it the one that was idle longest is closed."""

MAX_SPARES = 8
"""Spare legs that are being opened at once."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another proxy, and whom it is to prove to be."""

    via: Address
    name: Name


class OtherPeers(Elsewhere, Protocol):
    """The peers that serve the same."""

    @property
    def peer(self) -> Peer:
        """The present one."""


class PoolCounts(LegCounts, Protocol):
    """Counts what happens to the legs of a pool."""

    def replayed(self) -> None:
        """A connection is begun again, for its leg was dead."""


class _Kept:
    """What is known of a peer that has legs, or soon will."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.legs = 0
        self.idle: dict[LegClient, None] = {}
        self.used = float("-inf")
        self.failures = 0
        self.waiting: IDelayedCall | None = None
        self.opening: Deferred[LegClient] | None = None

    @property
    def over(self) -> bool:
        """There is nothing to know any more."""
        return not self.legs and self.waiting is None and self.opening is None


class _Leg(Entry):
    """:param until: when it may begin to carry a connection for the last time, and `only` why then."""

    __slots__ = ("deadline", "epoch", "kept", "only", "until")

    def __init__(self, kept: _Kept, epoch: int, until: float, only: Retirement) -> None:
        super().__init__()
        self.kept = kept
        self.epoch = epoch
        self.until = until
        self.only = only
        self.deadline: Deadline | None = None  # there is one since it was idle for the first time


class LegPool(LegBook[LegClient, _Leg]):
    """The legs of one proxy to its peers.

    :param clock: in seconds since the epoch.
    :param connect: makes a leg that nobody waits for yet, by `leg`.
    :param settle: seconds that no leg has been idle before a spare one is opened: a short connection's own is back by
        then.
    """

    def __init__(
        self, clock: IReactorTime, connect: Callable[[Peer], Deferred[LegClient]], counts: PoolCounts, settle: float
    ) -> None:
        super().__init__(counts)
        self.epoch = 0
        """Counts the credentials: to be read when a handshake begins."""
        self._clock = clock
        self._connect = connect
        self._pool_counts = counts
        self._settle = settle
        self._peers: dict[Peer, _Kept] = {}
        self._opening = 0

    # What the caller does.

    def carry(self, peer: Peer, request: Open, protocol: IProtocol, others: OtherPeers | None = None) -> bool:
        """Connect the protocol over an idle leg; return whether there is one.

        :param others: who may take the connection if the peer does not.
        """
        kept = self._peers.get(peer)
        if kept is None:
            return False
        for leg in reversed(kept.idle):
            if leg.free:
                if others is None:
                    leg.open(request, protocol, Replay(request, lambda: self._again(peer), self._clock))
                else:
                    leg.open(request, protocol, self.movable(request, others, PROMPT))
                return True
        return False

    def movable(self, request: Open, others: OtherPeers, prompt: float = -1.0) -> Replay:
        """Return what has a connection taken elsewhere if its leg, a new one, is refused it.

        :param prompt: see `Replay`.
        """
        return Replay(request, lambda: ensureDeferred(self._elsewhere(others)), self._clock, prompt, others)

    def leg(self, peer: Peer, expires: datetime | None, epoch: int, made: Callable[[LegClient], None]) -> LegClient:
        """Return a new leg, to be put on the connection that a handshake has just established.

        :param expires: when the peer's certificate does.
        :param epoch: that at which the handshake began.
        :param made: called once it is connected; it has either `carry` or `idle` called.
        """
        leg = LegClient(made, self, self._clock)
        until = (self._clock.seconds() + AGE, Retirement.AGE)
        if expires is not None:
            until = min(until, (expires.timestamp(), Retirement.EXPIRED))
        kept = self._peers.setdefault(peer, _Kept(peer))
        kept.legs += 1
        self.enter(leg, _Leg(kept, epoch, *until))
        return leg

    def renew(self) -> None:
        """Use no present leg again: there are new credentials, or a new trust bundle."""
        self.epoch += 1
        self._close(Retirement.CREDENTIALS)

    def stop(self, hold: Hold) -> None:
        """Keep no legs from now on, and have the end of those that there are waited for."""
        self.hold_all(hold)
        for kept in list(self._peers.values()):
            waiting, kept.waiting = kept.waiting, None
            if waiting is not None:
                waiting.cancel()
            if kept.opening is not None:
                kept.opening.cancel()
        self._close(Retirement.STOPPING)

    # What the legs tell.

    def idle(self, leg: LegClient) -> None:
        """Keep it for the next connection, if it may carry one."""
        entry = self.legs[leg]
        now = self._clock.seconds()
        deadline, why = min((now + IDLE, Retirement.IDLE), (entry.until, entry.only))
        if not leg.free:
            entry.why = Retirement.PEER
        elif self.hold is not None:
            self._retire(leg, Retirement.STOPPING)
        elif entry.epoch != self.epoch:
            self._retire(leg, Retirement.CREDENTIALS)
        elif deadline <= now:
            self._retire(leg, why)
        else:
            super().idle(leg)
            entry.kept.idle[leg] = None
            if entry.deadline is None:
                entry.deadline = Deadline(self._clock)
            entry.deadline.set(deadline - now, lambda: self._retire(leg, why))
            if len(self.resting) > MAX_IDLE:
                self._retire(next(iter(self.resting)), Retirement.LIMIT)

    def busy(self, leg: LegClient) -> None:
        """Note that its peer is in use."""
        super().busy(leg)
        kept = self.legs[leg].kept
        kept.used, kept.failures = self._clock.seconds(), 0
        self._want(kept)

    def gone(self, leg: LegClient) -> None:
        """Forget it."""
        entry = self.legs[leg]
        kept = entry.kept
        kept.legs -= 1
        if not entry.connections and entry.why is None:
            kept.failures += 1  # a spare one that the peer did not keep
        super().gone(leg)
        if entry.deadline is not None:
            entry.deadline.stop()
        self._want(entry.kept)

    def _stir(self, leg: LegClient) -> bool:
        entry = self.legs[leg]
        entry.kept.idle.pop(leg, None)
        if entry.deadline is not None:
            entry.deadline.clear()
        return super()._stir(leg)

    def _retire(self, leg: LegClient, why: Retirement) -> None:
        entry = self.legs[leg]
        entry.why = entry.why or why
        self._stir(leg)
        leg.close()
        self._want(entry.kept)

    def _close(self, why: Retirement) -> None:
        for leg in list(self.resting):
            self._retire(leg, why)

    # Spare legs, and those in the place of dead ones.

    def _again(self, peer: Peer) -> Deferred[LegClient]:
        self._pool_counts.replayed()
        return self._connect(peer)

    async def _elsewhere(self, others: OtherPeers) -> LegClient:
        while True:
            try:
                return await self._again(others.peer)
            except DialFailed as error:
                if not others.moves(error):
                    raise

    def _want(self, kept: _Kept) -> None:
        """See that a leg to the peer is idle, if it is in use."""
        if self._lacks_one(kept) and kept.waiting is None and kept.opening is None:
            after = max(self._settle, 2.0 ** min(kept.failures, 6) if kept.failures else 0)
            kept.waiting = self._clock.callLater(after, self._open, kept)
        elif kept.over:
            del self._peers[kept.peer]

    def _lacks_one(self, kept: _Kept) -> bool:
        return not kept.idle and self.hold is None and self._clock.seconds() - kept.used < IDLE

    def _open(self, kept: _Kept) -> None:
        kept.waiting = None
        if not self._lacks_one(kept) or self._opening >= MAX_SPARES:
            self._want(kept)
            return
        self._opening += 1
        kept.opening = self._connect(kept.peer)
        kept.opening.addCallbacks(self.idle, lambda failure: self._failed(kept, failure))
        kept.opening.addBoth(lambda _: self._opened(kept))

    def _failed(self, kept: _Kept, why: Failure) -> None:
        """Take that there is no spare leg: whoever needs one next will hear why."""
        without_frames(cast("Exception", why.value))
        kept.failures += 1

    def _opened(self, kept: _Kept) -> None:
        self._opening -= 1
        kept.opening = None
        self._want(kept)
