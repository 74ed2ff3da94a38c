"""The requests of one connection, each from its head to the end of its answer.

Counts them, measures them, and sends those that a tap matched; an answer follows its request. What
nobody taps is only counted: its head is not even read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twisted.logger import Logger

from meshtx.observe.flow import Flow, Request, Response, Seen
from meshtx.observe.metrics import FlowSeries
from meshtx.observe.tap import Answered, Finished, Subscription, TapEvent, TapHub, What
from meshtx.observe.watcher import LimitReached, Watched
from meshtx.wire.http_events import GaveUp, RequestHead, ResponseEnd, ResponseHead, Upgraded

Shown = RequestHead | Request | ResponseHead | Response | ResponseEnd

MAX_OPEN = 1024
"""Requests of one connection that wait for the end of their answer at once."""

_REQUEST = (RequestHead, Request)
_RESPONSE = (ResponseHead, Response)


@dataclass(slots=True)
class _Tapped:
    """A request that taps have matched.

    :param headers: one of them wants those.
    """

    started: float
    watchers: tuple[Subscription, ...]
    headers: bool
    answered: float | None = None


class Exchanges:
    """What is in flight on one connection.

    :param series: counts here.
    :param protocol: the detector's name.
    :param watched: the connection.
    :param now: returns seconds since the epoch.
    :ivar requested: a request was seen.
    """

    log = Logger()

    __slots__ = (
        "_filtered",
        "_headers",
        "_hub",
        "_narrowed",
        "_narrowed_for",
        "_narrowed_from",
        "_now",
        "_open",
        "_protocol",
        "_series",
        "_tapped",
        "_watched",
        "requested",
    )

    def __init__(
        self,
        hub: TapHub,
        series: FlowSeries,
        protocol: str,
        watched: Watched,
        now: Callable[[], float],
    ) -> None:
        self.requested = False
        self._hub = hub
        self._series = series
        self._protocol = protocol
        self._watched = watched
        self._now = now
        self._open: dict[int, tuple[float, int]] = {}  # when a request came, and the status of its answer so far
        self._tapped: dict[int, _Tapped] | None = None  # made for the first
        self._narrowed_for: Flow | None = None
        self._narrowed_from: tuple[Subscription, ...] = ()
        self._narrowed: tuple[Subscription, ...] = ()
        self._filtered = False
        self._headers = False

    def seen(self, events: Sequence[Seen]) -> None:
        """Take what an observer reports. It runs with every request.

        :raises LimitReached: more requests wait than are kept: not this connection's protocol, or somebody's attack.
            What came before is counted and sent.
        """
        now, going_on = self._now(), self._open
        tapped = self._hub.subscriptions or self._tapped
        for event in events:
            if isinstance(event, ResponseEnd):
                begun = going_on.pop(event.id, None)
                if begun is not None:
                    then, status = begun
                    latency = now - then if now > then else 0.0  # the wall clock may be set back
                    self._series.responded(status, event, latency)
            elif isinstance(event, _RESPONSE):
                begun = going_on.get(event.id)
                if begun is not None:
                    going_on[event.id] = begun[0], event.status
            elif isinstance(event, _REQUEST):
                self.requested = True
                if len(going_on) >= MAX_OPEN:
                    raise LimitReached
                going_on[event.id] = now, 0
                self._series.requests.value += 1
            else:
                self._last(event)
                continue
            if tapped:
                self._show(now, event)

    def _last(self, event: Upgraded | GaveUp) -> None:
        """A request whose connection becomes another protocol is over with that; a parser gives up for all of them."""
        if isinstance(event, Upgraded):
            self.seen([ResponseEnd(event.id, 0)])
        else:
            flow, protocol = self._watched.flow.id, self._protocol
            self.log.debug(
                "flow {flow}: {protocol} is no longer observed: {reason}",
                flow=flow,
                protocol=protocol,
                reason=event.reason,
            )

    def _show(self, now: float, event: Shown) -> None:
        """Send what taps have matched."""
        if isinstance(event, _REQUEST):
            self._offer(self._watched.flow, now, event)
        elif self._tapped and (tapped := self._tapped.get(event.id)):
            what: What
            latency = now - tapped.started if now > tapped.started else 0.0  # as above
            if isinstance(event, ResponseEnd):
                del self._tapped[event.id]
                answered = tapped.answered
                what = Finished(event, latency, now - answered if answered is not None and now > answered else 0.0)
            else:
                tapped.answered = now
                what = Answered(response_told(event, headers=tapped.headers), latency)
            _send(tapped.watchers, self._watched.flow, now, what)

    def _offer(self, flow: Flow, now: float, event: RequestHead | Request) -> None:
        candidates = self._candidates(flow)
        if candidates:
            request = request_told(event, self._protocol)
            watchers = candidates
            if self._filtered:
                watchers = tuple([each for each in candidates if each.match.request(request)])
            if watchers:
                if self._tapped is None:
                    self._tapped = {}
                self._tapped[event.id] = _Tapped(now, watchers, self._headers)
                _send(watchers, flow, now, request)

    def _candidates(self, flow: Flow) -> tuple[Subscription, ...]:
        """Return the taps of this connection; the others cost its requests nothing."""
        subscriptions = self._hub.subscriptions
        if flow is not self._narrowed_for or subscriptions is not self._narrowed_from:
            self._narrowed_for, self._narrowed_from = flow, subscriptions
            self._narrowed = self._hub.of_connection(flow)
            self._filtered = any(each.match.requests_only for each in self._narrowed)
            self._headers = any(each.headers for each in self._narrowed)
        return self._narrowed


def request_told(request: RequestHead | Request, protocol: str) -> Request:
    """Return a request as taps are told of it."""
    if isinstance(request, Request):
        return request
    text = request.read()
    return Request(request.id, protocol, text.method, text.authority, text.path, text.headers)


def response_told(response: ResponseHead | Response, *, headers: bool) -> Response:
    """Return the head of an answer as taps are told of it.

    :param headers: one of them wants those.
    """
    if isinstance(response, Response):
        return response
    return Response(response.id, response.status, response.read() if headers else ())


def _send(watchers: tuple[Subscription, ...], flow: Flow, now: float, what: What) -> None:
    event = TapEvent(now, flow, what)
    for watcher in watchers:
        watcher.offer(event)
