"""The admin site that every program has, on its own port.

    GET  /live      200 while the process turns
    GET  /ready     200, or 503 and why not
    GET  /metrics   Prometheus' text, or 403 and who may read it
    POST /shutdown  from loopback only, where the program offers it

A program may have pages of its own beside these, which may take their time.

Whoever mounts the site decides to whom the metrics are shown (`Readers`): they tell who is in the mesh and how much is
going on, so on a plaintext listener not everybody, unless that is asked for. Requests are not logged: probes come
every few seconds.

It is made of Twisted's HTTP server alone. Its sites of resources (`twisted.web.server`) bring Perspective Broker, XML
and URLs with them: 2.4 MiB in every sidecar, for four pages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from types import MappingProxyType
from typing import Protocol, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, HTTPFactory, Request, datetimeToString

from meshtx.observe.metrics import CONTENT_TYPE, Metrics
from meshtx.rpc.connections import Connections, Seat
from meshtx.wire.address import parse_ip

MAX_BODY = 1024
"""Bytes that a request may bring; nothing here reads them."""
IDLE_TIMEOUT = 30.0
"""Seconds without a byte after which a connection is closed."""

MAX_CONNECTIONS = 64
"""At once; one more, and the one that was silent longest is cut off."""

MAX_LENGTH = 64
"""Bytes of the field that says how long a body is."""

_LENGTH = b"content-length:"
_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_TOO_LARGE = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Readers(Enum):
    """To whom the metrics are shown; the value is what others are told."""

    EVERYBODY = ""
    """All who reach the listener: it is behind a check of the peer's name, or somebody has asked for it."""
    THIS_HOST = (
        "metrics are shown to processes of this host alone, such as kubectl port-forward;"
        " the setting admin_plaintext_metrics shows them to everybody"
    )
    NAMES = "metrics are shown over mutual TLS, to the names in metrics_identity"
    """Nobody on this listener: there is another one for them."""

    @classmethod
    def in_clear(cls, *, everybody: bool) -> Readers:
        """Return those of a program of the control plane, by its setting ``admin_plaintext_metrics``."""
        return cls.EVERYBODY if everybody else cls.THIS_HOST


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent for a page."""

    status: HTTPStatus
    body: str | bytes
    content_type: str = "text/plain; charset=utf-8"


Page = Callable[[Request], "Answer | Deferred[Answer]"]
"""Makes the answer to a request, at once or later."""


class HasPlaces(Protocol):
    """A site whose connections are bounded."""

    connections: Connections


class SeatedChannel(HTTPChannel):
    """A connection that has one of its site's places, and whose requests come one after another.

    Who sends the next one before the answer is cut off behind that: all that came in one read would be answered in one
    turn of the reactor, thousands of requests in seconds, and the answers be held for whoever does not read them.
    """

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

    def headerReceived(self, line: bytes) -> bool:
        """Refuse a length of more digits than a length has: Python may raise at it, which is a trace in the log."""
        if len(line) > MAX_LENGTH and line[: len(_LENGTH)].lower() == _LENGTH:
            self.transport.write(_BAD_REQUEST)
            self.loseConnection()
            return False
        return super().headerReceived(line)

    def setLineMode(self, extra: bytes = b"") -> None:
        """Take the next request, once one is answered; what has come by then is dropped, with all behind it."""
        if self.clearLineBuffer() or extra:
            self.persistent = False
            self.loseConnection()
        super().setLineMode()

    def working(self) -> None:
        """Keep the place until the peer speaks again: what it asked for takes its time."""
        if self._seat is not None:
            self._seat.busy()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Give the place up."""
        if self._seat is not None:
            self._seat.leave()
        super().connectionLost(reason)
        self._transferDecoder = None  # of a body that did not come whole: it leads back here


class AdminSite(HTTPFactory):
    """Serves these pages; takes connections by `buildProtocol`, from a listener or behind TLS alike.

    :param readers: of the metrics.
    :param ready: returns ``None``, or why the program is not ready.
    :param reactor: closes idle connections.
    :param shutdown: ends the program; without it there is no ``/shutdown``.
    :param pages: what else can be got, by its path.
    """

    protocol = SeatedChannel  # type: ignore[assignment]  # HTTP/1.1 alone: no h2 to negotiate
    noisy = False
    failures = Logger()

    def __init__(
        self,
        metrics: Metrics,
        ready: Callable[[], str | None],
        *,
        reactor: IReactorTime,
        readers: Readers,
        shutdown: Callable[[], None] | None = None,
        pages: Mapping[bytes, Page] = MappingProxyType({}),
    ) -> None:
        pages = {
            **pages,
            b"/live": lambda _: Answer(HTTPStatus.OK, "live\n"),
            b"/ready": lambda _: _ready(ready()),
            b"/metrics": lambda request: _metrics(request, metrics, readers),
        }
        posts: dict[bytes, Page] = {}
        if shutdown is not None:
            posts[b"/shutdown"] = lambda request: _shutdown(request, shutdown)
        self._pages = {b"GET": pages, b"HEAD": pages, b"POST": posts}
        self.connections = Connections(MAX_CONNECTIONS)
        super().__init__(timeout=IDLE_TIMEOUT, reactor=reactor)

    def buildProtocol(self, addr: IAddress | None) -> SeatedChannel:  # type: ignore[override]  # narrower
        """Return a new connection's protocol."""
        channel = cast("SeatedChannel", super().buildProtocol(addr))
        channel.site = self
        channel.requestFactory = _AdminRequest
        return channel

    def answer(self, request: Request) -> Answer | Deferred[Answer]:
        """Return the page that is asked for, by method and whole path."""
        page = self._pages.get(request.method, {}).get(request.path)
        if page is not None:
            try:
                return page(request)
            except Exception:  # noqa: BLE001  the border to whatever a page shows: logged
                return self.failed(Failure())
        allowed = [method for method, pages in self._pages.items() if request.path in pages]
        if not allowed:
            return _NOT_FOUND
        request.setHeader(b"Allow", b", ".join(allowed))
        return Answer(HTTPStatus.METHOD_NOT_ALLOWED, f"only {b', '.join(allowed).decode()}\n")

    def failed(self, failure: Failure) -> Answer:
        """Log why a page cannot be shown, and return what is said instead."""
        self.failures.failure("a page of the admin site failed", failure)
        return _FAILED

    def startFactory(self) -> None:
        """Start nothing: the base class would keep a timer for the dates of an access log."""

    def stopFactory(self) -> None:
        """Stop nothing."""


_NOT_FOUND = Answer(HTTPStatus.NOT_FOUND, "no such page; there are /live, /ready and /metrics\n")
_FAILED = Answer(HTTPStatus.INTERNAL_SERVER_ERROR, "a defect; the log has it\n")
_NOT_YOURS = Answer(HTTPStatus.FORBIDDEN, "only a process of this host may do that\n")


class Bodiless(Request):
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


class _Answered(Request):
    """A request that is answered, at once or later."""

    def process(self) -> None:
        """Send the page.

        One that takes its time keeps no place for its connection: else a few strangers, who ask for a slow page again
        and again, would leave none.
        """
        site = cast("AdminSite", cast("SeatedChannel", self.channel).site)
        answer = site.answer(self)
        if isinstance(answer, Answer):
            self._send(answer)
        else:
            answer.addErrback(site.failed).addCallback(self._send)

    def _send(self, answer: Answer) -> None:
        if self._disconnected:
            return
        body = answer.body if isinstance(answer.body, bytes) else answer.body.encode()
        self.setResponseCode(answer.status, answer.status.phrase.encode())
        self.setHeader(b"Date", datetimeToString())
        self.setHeader(b"Content-Type", answer.content_type.encode())
        self.setHeader(b"Content-Length", b"%d" % len(body))
        self.write(body)  # of an answer to HEAD the base class sends the head alone
        self.finish()


class _AdminRequest(Bodiless, _Answered):
    """A request for a page."""


def _ready(reason: str | None) -> Answer:
    if reason is None:
        return Answer(HTTPStatus.OK, "ready\n")
    return Answer(HTTPStatus.SERVICE_UNAVAILABLE, f"not ready: {reason}\n")


def _metrics(request: Request, metrics: Metrics, readers: Readers) -> Answer:
    if readers is Readers.EVERYBODY or (readers is Readers.THIS_HOST and _is_of_this_host(request)):
        return Answer(HTTPStatus.OK, metrics.exposition(), CONTENT_TYPE)
    return Answer(HTTPStatus.FORBIDDEN, f"{readers.value}\n")


def _shutdown(request: Request, shutdown: Callable[[], None]) -> Answer:
    """End the program once the answer is out; a browser sends Origin with each POST."""
    if not _is_of_this_host(request):
        return _NOT_YOURS
    request.notifyFinish().addBoth(lambda _: shutdown())
    return Answer(HTTPStatus.OK, "shutting down\n")


def _is_of_this_host(request: Request) -> bool:
    """Say whether a process of this host asks, by loopback; a browser that somebody's page told to ask is none."""
    host = getattr(request.getClientAddress(), "host", None)
    return host is not None and parse_ip(host).is_loopback and not request.requestHeaders.hasHeader(b"Origin")
