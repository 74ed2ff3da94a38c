"""The webhook's HTTP side: bounded bodies in, answers out, each path a function.

    200  the review's answer          413  more than `MAX_BODY`, or too much once it is read
    400  no review                    503  too much is held already
    500  trouble of ours              404, 405

Anything but 200 is no answer to the API server: its failurePolicy decides then. Bodies are kept in memory, for the
program's root is read-only; one client may have at most `MAX_BODY` of it, and all together `MAX_HELD`, with what is
read from bodies until it is answered (`read_size`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from io import BytesIO
from typing import cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from meshtx.kube.admission import MalformedReview, Review, parse
from meshtx.kube.injector import Result
from meshtx.observe.admin import SeatedChannel
from meshtx.observe.sparing import Sparing
from meshtx.rpc.connections import Connections

MAX_BODY = 10 * 1024 * 1024
"""Bytes; etcd takes objects of 1.5 MB, and a review may have two of them, and more text around."""
MAX_HELD = 64 * 1024 * 1024
"""Bytes of all bodies that are here, and of what is read from them: a quarter of what the program may have."""
OBJECT, VALUE, CHARACTER = 160, 80, 4
"""Bytes that each takes at most once it is read, with its part of what it is in: ``{},`` is 3 bytes, and then 73."""
MAX_ANSWER = 512 * 1024
"""Bytes; the longest part is the trust anchors, of 120 KiB at most. A longer one says again what was asked, such as the
name of a container, and is held for whoever does not read it."""
MAX_CONNECTIONS = 256
"""At once; one more, and the one that was silent longest is cut off."""
IDLE = 120.0
"""Seconds: more than API servers keep a connection (90), for theirs must be the first to close it."""

GRACE = 5.0
"""Seconds that answers have when the site stops."""

Answers = Callable[[Review], Awaitable[bytes]]


class WebhookSite(Site):
    """Serves these paths.

    :param paths: what answers the reviews that come to each one.
    :param reactor: closes idle connections.
    :param answered: called with what became of questions that got no answer.
    """

    protocol = SeatedChannel  # type: ignore[assignment]  # HTTP/1.1 alone, as API servers speak to webhooks

    def __init__(
        self, paths: Mapping[str, Answers], *, reactor: IReactorTime, answered: Callable[[Result], None]
    ) -> None:
        self.connections = Connections(MAX_CONNECTIONS)
        self.held = 0
        """Bytes of bodies that are here."""
        self.receiving: dict[_Request, None] = {}
        """Whose bodies are still coming, in the order in which they began."""
        self.closing = False
        """Whether each connection ends with its next answer: who asked comes to another replica then."""
        self._working = _Working()
        self._clock = reactor
        root = Resource()
        for path, answers in paths.items():
            root.putChild(path.lstrip("/").encode("ascii"), _Hook(answers, answered, self._working, reactor))
        super().__init__(root, requestFactory=_Request, parsePOSTFormSubmission=False, timeout=IDLE, reactor=reactor)

    def startFactory(self) -> None:
        """Start nothing: the base class would keep a timer for the dates of an access log."""

    def stopFactory(self) -> None:
        """Stop nothing."""

    async def stop(self, grace: float = GRACE) -> None:
        """End all connections: API servers would go on asking on those that they keep.

        :param grace: seconds for answers that are being made.
        """
        with suppress(DeferredTimeout):
            await self._working.ended().addTimeout(grace, self._clock)
        await deferLater(self._clock, 0)  # what was just answered goes out
        while self.connections.seats:
            for seat in list(self.connections.seats):
                seat.evict()
            await deferLater(self._clock, 0)


class _Working:
    """Answers that are being made."""

    def __init__(self) -> None:
        self._answers: set[Deferred[None]] = set()
        self._waiting: Deferred[None] | None = None

    def add(self, answer: Deferred[None]) -> None:
        self._answers.add(answer)
        answer.addBoth(lambda _: self._remove(answer))

    def ended(self) -> Deferred[None]:
        """Return what fires when there are none."""
        self._waiting = Deferred()
        self._tell()
        return self._waiting

    def _remove(self, answer: Deferred[None]) -> None:
        self._answers.discard(answer)
        self._tell()

    def _tell(self) -> None:
        if self._waiting is not None and not self._answers and not self._waiting.called:
            self._waiting.callback(None)


class _Request(Request):
    """A request whose body is bounded and in memory."""

    _size = 0
    _ended = False

    def gotLength(self, length: int | None) -> None:
        super().gotLength(0)  # the base class would put a large one on a disk
        self._site: WebhookSite = self.channel.site  # type: ignore[attr-defined]  # a `SeatedChannel` of ours
        self._site.receiving[self] = None
        self.notifyFinish().addBoth(self._release)
        if length is not None:
            self._check(length)

    def handleContentChunk(self, data: bytes) -> None:
        if self._ended:
            return
        self._hold(len(data))
        if self._check(self._size):
            super().handleContentChunk(data)

    def process(self) -> None:
        self._site.receiving.pop(self, None)
        if not self._ended:
            self._hold(read_size(cast("BytesIO", self.content).getvalue()))
            self._check(0)
        if self._ended:
            return
        if self._site.closing:
            self.channel.persistent = 0
            self.setHeader(b"Connection", b"close")
        super().process()

    def write(self, data: bytes) -> None:
        self.responseHeaders.removeHeader(b"Server")
        super().write(data)

    def _hold(self, size: int) -> None:
        self._size += size
        self._site.held += size

    def _check(self, size: int) -> bool:
        """Say whether a body of this size may go on; refuse it if not."""
        if size > MAX_BODY or self._size > MAX_HELD:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        while self._site.held > MAX_HELD and not self._ended:
            self._make_room()
        return not self._ended

    def _make_room(self) -> None:
        """Cut off who has been sending longest: API servers send in an instant, who would keep them out does not."""
        oldest = next(iter(self._site.receiving), self)
        if oldest is self:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)
        else:
            oldest._cut_off()

    def _cut_off(self) -> None:
        self._end()
        cast("SeatedChannel", self.channel).transport.abortConnection()

    def _refuse(self, status: HTTPStatus) -> None:
        self._end()
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        self.channel.write(head.encode("ascii"))
        self.channel.loseConnection()

    def _end(self) -> None:
        """Hold nothing of it from now on; whoever sent it may keep the connection for a while."""
        self._ended = True
        self._release(None)
        self.content = BytesIO()

    def _release(self, _: object) -> None:
        self._site.receiving.pop(self, None)
        self._site.held -= self._size
        self._size = 0


def read_size(body: bytes) -> int:
    """Return the bytes that a JSON text takes at most once it is read, without reading it."""
    return OBJECT * body.count(b"{") + VALUE * (body.count(b"[") + body.count(b",")) + CHARACTER * len(body)


class _Hook(Resource):
    """One path."""

    log = Logger()

    def __init__(
        self, answers: Answers, answered: Callable[[Result], None], working: _Working, clock: IReactorTime
    ) -> None:
        super().__init__()
        self.isLeaf = True
        self._working = working
        self._sparing = Sparing()
        self._clock = clock
        self._answers = answers
        self._answered = answered

    def render_POST(self, request: Request) -> int:
        """Answer, perhaps later; who does not wait for it any more ends the work."""
        body = request.content.read() if request.content is not None else b""
        answer = Deferred.fromCoroutine(self._answer(body))
        request.notifyFinish().addErrback(lambda _: answer.cancel())
        done = answer.addCallbacks(lambda said: _finish(request, *said), self._failed, errbackArgs=(request,))
        self._working.add(done)
        return NOT_DONE_YET

    async def _answer(self, body: bytes) -> tuple[HTTPStatus, bytes]:
        try:
            answer = await self._answers(parse(body))
            if len(answer) > MAX_ANSWER:
                raise MalformedReview(f"no question: its answer would have {len(answer)} bytes")
        except MalformedReview as error:
            self._answered(Result.MALFORMED)
            return HTTPStatus.BAD_REQUEST, f"{error}\n".encode()
        return HTTPStatus.OK, answer

    def _failed(self, failure: Failure, request: Request) -> None:
        """Give no answer: whether the object may be without us is the failurePolicy's to say."""
        if failure.check(CancelledError):  # who asked has gone
            return
        self._answered(Result.FAILED)
        left_out = self._sparing.left_out("failed", self._clock.seconds())
        if left_out is not None:  # anybody may ask what cannot be answered
            more = f", and {left_out} more before it" if left_out else ""
            self.log.failure("a question of the API server was not answered{more}", failure, more=more)
        _finish(request, HTTPStatus.INTERNAL_SERVER_ERROR, b"the injector cannot answer; its log says why\n")


def _finish(request: Request, status: HTTPStatus, body: bytes) -> None:
    request.setResponseCode(status, status.phrase.encode("ascii"))
    request.setHeader(b"Content-Type", b"application/json" if status is HTTPStatus.OK else b"text/plain; charset=utf-8")
    request.write(body)
    request.finish()
