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
from meshtx.wire.http1 import Http1Observer
from meshtx.wire.http1_head import Request, Response
from meshtx.wire.http_events import ResponseEnd


class Repeats:
    """Stands before the observer of one connection."""

    def __init__(
        self,
        observer: Http1Observer,
        exchanges: Exchanges,
        series: FlowSeries,
        hub: TapHub,
        now: Callable[[], float],
    ) -> None:
        self._observer = observer
        self._exchanges = exchanges
        self._series = series
        self._hub = hub
        self._now = now
        self._asked: float | None = None
        self._request: bytes | None = None  # none: nothing can be the same
        self._head = b""
        self._size = 0
        self._responses = series.requests
        self._last_request: Request | None = None
        self._last_answer: Response | None = None

    def client_data(self, data: bytes) -> bool:
        """Take bytes of the client, if they are the request again."""
        if data == self._request and self._asked is None and not self._hub.subscriptions:
            self._asked = self._now()
            self._series.requests.value += 1
            return True
        if self._asked is not None:
            self.settle()
        self._request = None
        return False

    def server_data(self, data: bytes) -> bool:
        """Take bytes of the server, if they are the answer again."""
        asked = self._asked
        if asked is not None and len(data) == self._size and data.startswith(self._head):
            self._asked = None
            now = self._now()
            self._series.latency.observe((now - asked) * 1000 if now > asked else 0.0)
            self._responses.value += 1
            self._observer.skip()
            return True
        if asked is not None:
            self.settle()
        self._request = None
        return False

    def settle(self) -> None:
        """Have the observer read the request that it was not shown."""
        asked = self._asked
        if asked is not None and self._request is not None:
            self._asked = None
            self._exchanges.begun(self._observer.client_data(self._request), asked)

    def learn(self) -> None:
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
