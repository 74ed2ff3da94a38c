"""Exchanges of HTTP/1 that are those before them again, byte for byte: counted without a parser.

    the request again, and nobody taps ─▶ counted ─▶ the answer again, whole ─▶ counted and measured
                                             └─ anything else ─▶ the observer gets the request, then that

On connections that are kept alive there are many: probes, polls, the answers of one second. Reading one costs
several times what comparing it costs. Whoever looks from outside sees no difference: what is not the same goes
to the observer, which numbers requests as if it had read them all.
"""

from __future__ import annotations

from collections.abc import Callable

from meshtx.observe.exchanges import Exchanges
from meshtx.observe.metrics import FlowSeries
from meshtx.observe.tap import TapHub
from meshtx.observe.watcher import Watcher
from meshtx.wire.http1 import Http1Observer
from meshtx.wire.http1_head import Request, Response
from meshtx.wire.http_events import ResponseEnd


class Repeats:
    """Stands before the watcher of one connection, and what that watches with.

    :param series: counts here.
    """

    def __init__(
        self,
        watcher: Watcher,
        observer: Http1Observer,
        exchanges: Exchanges,
        *,
        series: FlowSeries,
        hub: TapHub,
        now: Callable[[], float],
    ) -> None:
        self._watcher = watcher
        self._observer = observer
        self._exchanges = exchanges
        self._series = series
        self._hub = hub
        self._now = now
        self._asked: float | None = None
        self._skipped = 0
        self._request: bytes | None = None  # none: nothing can be the same
        self._head = b""
        self._size = 0
        self._requests = series.requests
        self._responses = series.requests
        self._latency = series.latency
        self._last_request: Request | None = None
        self._last_answer: Response | None = None

    def client_data(self, data: bytes) -> None:
        """Look at bytes of the client."""
        if data == self._request and self._asked is None and not self._hub.subscriptions:
            self._asked = self._now()
            self._requests.value += 1
        else:
            self.settle()
            self._request = None
            self._watcher.client_data(data)

    def server_data(self, data: bytes) -> None:
        """Look at bytes of the server."""
        asked = self._asked
        if asked is not None and len(data) == self._size and data.startswith(self._head):
            self._asked = None
            now = self._now()
            self._latency.observe((now - asked) * 1000 if now > asked else 0.0)
            self._responses.value += 1
            self._skipped += 1
        else:
            self.settle()
            self._request = None
            self._watcher.server_data(data)
            self._learn()

    def settle(self) -> None:
        """Have the observer know of what it was not shown, and read the request whose answer it will be."""
        if self._skipped:
            self._observer.skip(self._skipped)
            self._skipped = 0
        asked = self._asked
        if asked is not None and self._request is not None:
            self._asked = None
            self._exchanges.begun(self._observer.client_data(self._request), asked)

    def _learn(self) -> None:
        """Remember the exchange that the observer has read, if it is over, and was read before.

        Only then: where every exchange is another, this costs next to nothing.
        """
        observer = self._observer
        request, answer = observer.last_request, observer.last_answer
        if request is not self._last_request or answer is not self._last_answer:
            self._last_request, self._last_answer = request, answer
        elif request is not None and answer is not None and observer.at_rest:
            length = 0 if request.method == b"HEAD" else answer.length
            if length >= 0 and not request.length and not request.switches:
                self._request, self._head, self._size = request.head, answer.head, len(answer.head) + length
                self._responses = self._series.responses(answer.status, ResponseEnd(0, length))
