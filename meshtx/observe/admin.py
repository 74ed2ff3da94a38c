"""The admin site that every program has, on its own port.

    GET  /live      200 while the process turns
    GET  /ready     200, or 503 and why not
    GET  /metrics   Prometheus' text; where it is not to be shown in clear, 403
    POST /shutdown  from loopback only, where the program offers it

Whoever mounts the site decides what it shows: on a plaintext listener ``expose_metrics=False``, on a
mutual TLS one ``True`` behind a check of the peer's name. Requests are not logged: probes come every
few seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

from twisted.internet.interfaces import IReactorTime, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from meshtx.observe.metrics import CONTENT_TYPE, Metrics
from meshtx.rpc.connections import Connections, Seat
from meshtx.wire.address import parse_ip

MAX_BODY = 1024
"""Bytes that a request may bring; nothing here reads them."""
IDLE_TIMEOUT = 30.0
"""Seconds without a byte after which a connection is closed."""

MAX_CONNECTIONS = 64
"""At once; one more, and the one that was silent longest is cut off."""

_TOO_LARGE = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class HasPlaces(Protocol):
    """A site whose connections are bounded."""

    connections: Connections


class SeatedChannel(HTTPChannel):
    """A connection that has one of its site's places."""

    site: HasPlaces
    transport: ITCPTransport
    _seat: Seat | None = None

    def connectionMade(self) -> None:
        """Take a place."""
        super().connectionMade()
        self._seat = self.site.connections.enter(self.transport.abortConnection)

    def dataReceived(self, data: bytes) -> None:
        """Read; who spoke last is the last to be cut off."""
        if self._seat is not None:
            self._seat.busy()
            self._seat.idle()  # from now on
        super().dataReceived(data)

    def working(self) -> None:
        """Keep the place until the peer speaks again: what it asked for takes its time."""
        if self._seat is not None:
            self._seat.busy()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Give the place up."""
        if self._seat is not None:
            self._seat.leave()
        super().connectionLost(reason)


class AdminSite(Site):
    """Serves these pages; takes connections by `buildProtocol`, from a listener or behind TLS alike.

    :param ready: returns ``None``, or why the program is not ready.
    :param reactor: closes idle connections.
    :param shutdown: ends the program; without it there is no ``/shutdown``.
    """

    protocol = SeatedChannel  # type: ignore[assignment]  # HTTP/1.1 alone: no h2 to negotiate

    def __init__(
        self,
        metrics: Metrics,
        ready: Callable[[], str | None],
        *,
        reactor: IReactorTime,
        expose_metrics: bool,
        shutdown: Callable[[], None] | None = None,
    ) -> None:
        pages: dict[bytes, _Page] = {
            b"/live": lambda _: _Answer(HTTPStatus.OK, "live\n"),
            b"/ready": lambda _: _ready(ready()),
            b"/metrics": lambda _: _metrics(metrics) if expose_metrics else _NOT_IN_CLEAR,
        }
        posts: dict[bytes, _Page] = {}
        if shutdown is not None:
            posts[b"/shutdown"] = lambda request: _shutdown(request, shutdown)
        root = _Pages({b"GET": pages, b"HEAD": pages, b"POST": posts})
        self.connections = Connections(MAX_CONNECTIONS)
        super().__init__(
            root, requestFactory=BodilessRequest, parsePOSTFormSubmission=False, timeout=IDLE_TIMEOUT, reactor=reactor
        )

    def startFactory(self) -> None:
        """Start nothing: the base class would keep a timer for the dates of an access log."""

    def stopFactory(self) -> None:
        """Stop nothing."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: HTTPStatus
    body: str | bytes
    content_type: str = "text/plain; charset=utf-8"


_Page = Callable[[Request], _Answer]

_NOT_FOUND = _Answer(HTTPStatus.NOT_FOUND, "no such page; there are /live, /ready and /metrics\n")
_NOT_IN_CLEAR = _Answer(HTTPStatus.FORBIDDEN, "metrics are shown over mutual TLS, to the names in metrics_identity\n")
_NOT_YOURS = _Answer(HTTPStatus.FORBIDDEN, "only a process of this host may do that\n")


class _Pages(Resource):
    """Finds the page by method and whole path."""

    def __init__(self, pages: Mapping[bytes, Mapping[bytes, _Page]]) -> None:
        super().__init__()
        self.isLeaf = True
        self._pages = pages

    def render(self, request: Request) -> bytes:
        answer = self._find(request)
        request.setResponseCode(answer.status, answer.status.phrase.encode())
        request.setHeader(b"Content-Type", answer.content_type.encode())
        return answer.body if isinstance(answer.body, bytes) else answer.body.encode()

    def _find(self, request: Request) -> _Answer:
        page = self._pages.get(request.method, {}).get(request.path)
        if page is not None:
            return page(request)
        allowed = [method for method, pages in self._pages.items() if request.path in pages]
        if not allowed:
            return _NOT_FOUND
        request.setHeader(b"Allow", b", ".join(allowed))
        return _Answer(HTTPStatus.METHOD_NOT_ALLOWED, f"only {b', '.join(allowed).decode()}\n")


class BodilessRequest(Request):
    """A request whose body is bounded and thrown away, and whose answer does not name the software."""

    _refused = False

    def gotLength(self, length: int | None) -> None:
        """Refuse a body that is too long."""
        super().gotLength(0)
        if length is None or length > MAX_BODY:
            self._refused = True
            self.channel.write(_TOO_LARGE)
            self.channel.loseConnection()

    def handleContentChunk(self, data: bytes) -> None:
        """Keep nothing of it."""

    def process(self) -> None:
        """Answer, unless that was done."""
        if not self._refused:
            super().process()

    def write(self, data: bytes) -> None:
        """Send a part of the answer."""
        self.responseHeaders.removeHeader(b"Server")
        super().write(data)


def _ready(reason: str | None) -> _Answer:
    if reason is None:
        return _Answer(HTTPStatus.OK, "ready\n")
    return _Answer(HTTPStatus.SERVICE_UNAVAILABLE, f"not ready: {reason}\n")


def _metrics(metrics: Metrics) -> _Answer:
    return _Answer(HTTPStatus.OK, metrics.exposition(), CONTENT_TYPE)


def _shutdown(request: Request, shutdown: Callable[[], None]) -> _Answer:
    """End the program once the answer is out; a browser (it sends Origin with each POST) is no process of ours."""
    host = getattr(request.getClientAddress(), "host", None)
    if host is None or not parse_ip(host).is_loopback or request.requestHeaders.hasHeader(b"Origin"):
        return _NOT_YOURS
    request.notifyFinish().addBoth(lambda _: shutdown())
    return _Answer(HTTPStatus.OK, "shutting down\n")
