"""Who watches, and what they are sent.

    relay ─▶ flow ─▶ TapHub ─▶ Subscription (a bounded queue) ─▶ a slow reader

Publishing never waits: where a queue is full the event is dropped and counted, and its reader finds
`Lost` in its place. Readers are woken from the reactor, not from the connection that is watched, and
take what has come until then together: what is done once for many events costs each of them little.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from meshtx.errors import MeshtxError
from meshtx.observe.flow import Flow, FlowEnd, Request, Response, ResponseEnd
from meshtx.observe.metrics import Metrics
from meshtx.observe.tap_match import TapMatch

MAX_SUBSCRIBERS = 16
QUEUE_BOUND = 1000
"""Events that wait for one reader, beside the `Lost` among them."""
BATCH = 128
"""Events that one reader gets in a turn of the reactor."""
GATHER = 0.02
"""Seconds between two turns of a reader that keeps up with what comes: so that it does not come one by one."""


class TapFull(MeshtxError):
    """As many taps as are allowed are open already."""


class TapClosed(MeshtxError):
    """The subscription was closed: nothing comes any more."""


@dataclass(frozen=True, slots=True)
class FlowOpened:
    """It is decided whether a connection is mutual TLS, and it is none whose requests can be seen."""


@dataclass(frozen=True, slots=True)
class FlowRefused:
    """The proxy closed a connection on purpose."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer began.

    :param latency: seconds since its request.
    """

    response: Response
    latency: float


@dataclass(frozen=True, slots=True)
class Finished:
    """An answer ended.

    :param latency: seconds since its request.
    :param duration: seconds since the answer began.
    """

    end: ResponseEnd
    latency: float
    duration: float


What = FlowOpened | FlowRefused | FlowEnd | Request | Answered | Finished


@dataclass(slots=True)
class TapEvent:
    """One thing that was seen; one value for all taps.

    Not frozen, which would cost more than making it: they come with every request.

    :param at: seconds since the epoch.
    """

    at: float
    flow: Flow
    what: What
    encoded: tuple[bool, bytes] | None = field(default=None, init=False, repr=False, compare=False)
    """What a tap was sent, and whether with headers: the next one is sent the same."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Here, events were dropped because the reader was too slow."""

    count: int


class Subscription:
    """One tap's queue. The hub offers, one reader at a time takes; whoever subscribed closes it."""

    def __init__(self, hub: TapHub, match: TapMatch, bound: int, *, headers: bool) -> None:
        self.match = match
        self.headers = headers
        self._hub = hub
        self._bound = bound
        self._queue: deque[TapEvent | Lost] = deque()
        self._lost = 0
        self._taken = 0
        self._woken_at = -GATHER
        self._reader: Deferred[TapEvent | Lost] | None = None
        self._wake: IDelayedCall | None = None
        self._closed = False

    def offer(self, event: TapEvent) -> None:
        """Queue an event, or drop and count it."""
        if self._closed:
            return
        if len(self._queue) >= self._bound:
            self._lost += 1
            self._hub.metrics.tap_lost.inc()
            return
        if self._lost:
            self._note_lost()
        self._queue.append(event)
        if self._reader is not None and self._wake is None:
            self._wake_later()

    def next(self) -> Deferred[TapEvent | Lost]:
        """Return the next event when there is one. Cancelling it loses nothing.

        :raises TapClosed: (the Deferred) the subscription was closed.
        """
        reader: Deferred[TapEvent | Lost] = Deferred(self._cancelled)
        self._reader = reader
        if self._closed:
            self._reader = None
            reader.errback(TapClosed())
        elif not self._queue and not self._lost:
            self._taken = 0
        elif self._taken < BATCH:
            self._reader = None
            self._taken += 1
            return succeed(self._pop())
        else:
            self._wake_later()
        return reader

    def rest(self) -> list[TapEvent | Lost]:
        """Return what there is behind the event that `next` gave, as far as it belongs to the same turn."""
        if self._lost and len(self._queue) < BATCH - self._taken:
            self._note_lost()
        rest = [self._queue.popleft() for _ in range(min(len(self._queue), BATCH - self._taken))]
        self._taken += len(rest)
        return rest

    def close(self) -> None:
        """End it: what is queued is dropped, a waiting reader is told."""
        if self._closed:
            return
        self._closed = True
        self._queue.clear()
        self._hub.remove(self)
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        if self._reader is not None:
            reader, self._reader = self._reader, None
            reader.errback(TapClosed())

    def _pop(self) -> TapEvent | Lost:
        if not self._queue:
            self._note_lost()
        return self._queue.popleft()

    def _note_lost(self) -> None:
        if self._lost:
            self._queue.append(Lost(self._lost))
            self._lost = 0

    def _wake_later(self) -> None:
        if self._wake is None:
            clock = self._hub.clock
            left = 0.0 if self._taken >= BATCH else self._woken_at + GATHER - clock.seconds()
            self._wake = clock.callLater(min(max(left, 0.0), GATHER), self._woken)  # the wall clock may be set back

    def _woken(self) -> None:
        self._wake = None
        self._woken_at = self._hub.clock.seconds()
        if self._reader is not None and (self._queue or self._lost):
            self._taken = 1
            reader, self._reader = self._reader, None
            reader.callback(self._pop())

    def _cancelled(self, _reader: Deferred[TapEvent | Lost]) -> None:
        self._reader = None


class TapHub:
    """All taps of a proxy.

    :param clock: wakes the readers.
    :param limit: how many may be open at once.
    """

    def __init__(self, clock: IReactorTime, metrics: Metrics, limit: int = MAX_SUBSCRIBERS) -> None:
        self.clock = clock
        self.metrics = metrics
        self.subscriptions: tuple[Subscription, ...] = ()
        self._limit = limit

    def subscribe(self, match: TapMatch, bound: int = QUEUE_BOUND, *, headers: bool = True) -> Subscription:
        """Open a tap.

        :param headers: those of answers are wanted; where no tap wants them they are not read.
        :raises TapFull: too many are open.
        """
        if len(self.subscriptions) >= self._limit:
            raise TapFull(f"{self._limit} taps are open already")
        subscription = Subscription(self, match, bound, headers=headers)
        self._set((*self.subscriptions, subscription))
        return subscription

    def remove(self, subscription: Subscription) -> None:
        """Forget a subscription that is closed."""
        self._set(tuple(each for each in self.subscriptions if each is not subscription))

    def close(self) -> None:
        """End all taps."""
        for subscription in self.subscriptions:
            subscription.close()

    def of_flow(self, flow: Flow) -> tuple[Subscription, ...]:
        """Return who wants to see a connection that has no requests."""
        return tuple(each for each in self.subscriptions if not each.match.requests_only and each.match.flow(flow))

    def of_connection(self, flow: Flow) -> tuple[Subscription, ...]:
        """Return who may want to see its requests: `TapMatch.request` says which."""
        return tuple(each for each in self.subscriptions if each.match.flow(flow))

    def _set(self, subscriptions: tuple[Subscription, ...]) -> None:
        self.subscriptions = subscriptions
        self.metrics.tap_subscribers.set(len(subscriptions))
