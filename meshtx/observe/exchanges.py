"""The requests of one connection, each from its head to the end of its answer.

Counts them, measures them, and sends those that a tap matched; an answer follows its request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from meshtx.observe.flow import Flow, Request, Response, ResponseEnd, Seen
from meshtx.observe.metrics import FlowSeries
from meshtx.observe.tap import Answered, Finished, Subscription, TapEvent, TapHub, What

MAX_OPEN = 1024
"""Requests of one connection that wait for the end of their answer at once."""


class TooManyOpen(Exception):
    """More requests wait than are kept: not this connection's protocol, or somebody's attack."""


@dataclass(slots=True)
class _Exchange:
    started: float
    watchers: tuple[Subscription, ...]
    status: int = 0
    answered: float | None = None


class Exchanges:
    """What is in flight on one connection.

    :param series: counts here.
    """

    def __init__(self, hub: TapHub, series: FlowSeries) -> None:
        self._hub = hub
        self._series = series
        self._open: dict[int, _Exchange] = {}

    def seen(self, flow: Flow, now: float, events: Sequence[Seen]) -> None:
        """Take what an observer reports.

        :param now: seconds since the epoch.
        :raises TooManyOpen: a bound was reached; what came before it is counted and sent.
        """
        for event in events:
            match event:
                case Request():
                    self._request(flow, now, event)
                case Response():
                    self._response(flow, now, event)
                case ResponseEnd():
                    self._end(flow, now, event)

    def _request(self, flow: Flow, now: float, request: Request) -> None:
        if len(self._open) >= MAX_OPEN:
            raise TooManyOpen
        self._series.request()
        watchers = self._hub.of_request(flow, request) if self._hub.subscriptions else ()
        self._open[request.id] = _Exchange(now, watchers)
        _send(watchers, flow, now, request)

    def _response(self, flow: Flow, now: float, response: Response) -> None:
        exchange = self._open.get(response.id)
        if exchange is not None:
            exchange.status = response.status
            exchange.answered = now
            if exchange.watchers:
                _send(exchange.watchers, flow, now, Answered(response, _since(exchange.started, now)))

    def _end(self, flow: Flow, now: float, end: ResponseEnd) -> None:
        exchange = self._open.pop(end.id, None)
        if exchange is not None:
            latency = _since(exchange.started, now)
            self._series.responded(exchange.status, end, latency)
            if exchange.watchers:
                duration = 0.0 if exchange.answered is None else _since(exchange.answered, now)
                _send(exchange.watchers, flow, now, Finished(end, latency, duration))


def _since(then: float, now: float) -> float:
    return max(0.0, now - then)  # the wall clock may be set back


def _send(watchers: tuple[Subscription, ...], flow: Flow, now: float, what: What) -> None:
    if watchers:
        event = TapEvent(now, flow, what)
        for watcher in watchers:
            watcher.offer(event)
