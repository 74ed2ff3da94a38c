"""The HTTP side of the tap API: discovery, taps as streams of lines, and Status objects for whatever is not to be.

    200  a stream of lines of JSON (`meshtx.kube.tap_relay`), until the user or the directory ends it
    400  a filter that makes no sense          403  the user may not
    401  nobody whom we believe says who asks  404  nothing there, or nothing of it is meshed
    429  as many taps as there may be          503  the API server does not say whether the user may

Everything is behind the check of the front proxy, discovery too: only the API server has anything to do here.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Protocol, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from meshtx.errors import MeshtxError
from meshtx.kube.api import Object
from meshtx.kube.front_proxy import FrontProxyWatch, Unauthenticated, User
from meshtx.kube.tap_names import GROUP, PATH, VERSION
from meshtx.kube.tap_outlet import Outlet
from meshtx.kube.tap_target import TapTarget, api_resources
from meshtx.net.site_tls import client_chain
from meshtx.observe.admin import Bodiless, SeatedChannel
from meshtx.observe.tap_match import BadMatch
from meshtx.observe.tap_query import TapQuery
from meshtx.rpc.connections import Connections

MAX_CONNECTIONS = 128
"""At once; one more, and the one that was silent longest is cut off."""
IDLE = 120.0
"""Seconds: more than API servers keep a connection (90), for theirs must be the first to close it."""

_REASONS = {
    HTTPStatus.BAD_REQUEST: "BadRequest",
    HTTPStatus.UNAUTHORIZED: "Unauthorized",
    HTTPStatus.FORBIDDEN: "Forbidden",
    HTTPStatus.NOT_FOUND: "NotFound",
    HTTPStatus.METHOD_NOT_ALLOWED: "MethodNotAllowed",
    HTTPStatus.TOO_MANY_REQUESTS: "TooManyRequests",
    HTTPStatus.INTERNAL_SERVER_ERROR: "InternalError",
    HTTPStatus.SERVICE_UNAVAILABLE: "ServiceUnavailable",
}
"""Kubernetes' words (``metav1.StatusReason``)."""


class TapRefused(MeshtxError):
    """There will be no tap; the message is for the user."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


class Tap(Protocol):
    """One that is open."""

    def stop(self) -> None:
        """End it."""


Open = Callable[[User, TapTarget, TapQuery, Outlet], Awaitable[Tap]]
"""Opens a tap for a user, whose lines go to the outlet; raises `TapRefused`."""


class _Request(Bodiless, Request):
    """A request for a site's resources."""


class TapSite(Site):
    """Serves the API.

    :param front: says who asks.
    :param reactor: closes idle connections, keeps time.
    :param answered: called with the status of each answer.
    """

    protocol = SeatedChannel  # type: ignore[assignment]  # HTTP/1.1 alone; the API server takes it

    def __init__(
        self,
        front: FrontProxyWatch,
        open_tap: Open,
        *,
        reactor: IReactorTime,
        answered: Callable[[HTTPStatus], None],
    ) -> None:
        self.connections = Connections(MAX_CONNECTIONS)
        root = _Api(front, open_tap, reactor, answered)
        super().__init__(root, requestFactory=_Request, timeout=IDLE, reactor=reactor)

    def startFactory(self) -> None:
        """Start nothing: the base class would keep a timer for the dates of an access log."""

    def stopFactory(self) -> None:
        """Stop nothing."""

    def stop(self) -> None:
        """End all connections, and with them the taps on them."""
        for seat in list(self.connections.seats):
            seat.evict()


class _Api(Resource):
    """All paths: who asks is looked at before what."""

    log = Logger()

    def __init__(
        self,
        front: FrontProxyWatch,
        open_tap: Open,
        clock: IReactorTime,
        answered: Callable[[HTTPStatus], None],
    ) -> None:
        super().__init__()
        self.isLeaf = True
        self._front = front
        self._open = open_tap
        self._clock = clock
        self._answered = answered

    def render(self, request: Request) -> bytes | int:
        """Answer now, or as long as somebody listens."""
        path = request.path.decode("latin-1")
        try:
            user = self._front.user(client_chain(request.channel.transport), request.requestHeaders)
            if request.method != b"GET":
                raise TapRefused(HTTPStatus.METHOD_NOT_ALLOWED, "only GET")
            document = _DISCOVERY.get(path)
            target = TapTarget.of_path(path)
            if document is None and target is None:
                raise TapRefused(HTTPStatus.NOT_FOUND, "there is no such path")
        except Unauthenticated as error:
            return self._refuse(request, TapRefused(HTTPStatus.UNAUTHORIZED, str(error)))
        except TapRefused as error:
            return self._refuse(request, error)
        if target is None:
            return self._say(request, HTTPStatus.OK, document or {})
        tap = Deferred.fromCoroutine(self._tap(request, user, target))
        request.notifyFinish().addErrback(lambda _: tap.cancel())
        tap.addErrback(self._failed, request)
        return NOT_DONE_YET

    async def _tap(self, request: Request, user: User, target: TapTarget) -> None:
        query = _query(request)
        outlet = Outlet(request.write, self._clock)
        try:
            tap = await self._open(user, target, query, outlet)
            try:
                await self._send(request, outlet, f"{target.namespace}/{target} for {user.name}")
            finally:
                tap.stop()
        finally:
            outlet.stopProducing()

    async def _send(self, request: Request, outlet: Outlet, what: str) -> None:
        """Send what comes until the user goes, or the connection is closed."""
        self._answered(HTTPStatus.OK)
        self.log.info("tap of {what} opened", what=what)
        cast("SeatedChannel", request.channel).working()
        request.setHeader(b"Content-Type", b"application/json")
        request.registerProducer(outlet, True)
        outlet.add(b"")  # sends the head now: who waits for the first event knows that he does
        try:
            await Deferred()
        finally:
            self.log.info("tap of {what} ended", what=what)

    def _failed(self, failure: Failure, request: Request) -> None:
        if failure.check(CancelledError):  # the user has gone
            return
        refused = failure.value
        if not isinstance(refused, TapRefused):
            self.log.failure("a tap was not opened", failure)
            refused = TapRefused(HTTPStatus.INTERNAL_SERVER_ERROR, "a defect of the directory; its log has it")
        body = self._refuse(request, refused)
        request.setHeader(b"Content-Length", b"%d" % len(body))
        request.write(body)
        request.finish()

    def _refuse(self, request: Request, refused: TapRefused) -> bytes:
        status = refused.status
        body = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": str(refused),
            "reason": _REASONS[status],
            "details": {"group": GROUP},
            "code": status.value,
        }
        return self._say(request, status, body)

    def _say(self, request: Request, status: HTTPStatus, document: Object) -> bytes:
        self._answered(status)
        request.setResponseCode(status, status.phrase.encode("ascii"))
        request.setHeader(b"Content-Type", b"application/json")
        return json.dumps(document).encode("ascii")


def _query(request: Request) -> TapQuery:
    try:
        args = request.args or {}
        return TapQuery.read({key.decode(): [each.decode() for each in values] for key, values in args.items()})
    except (BadMatch, UnicodeDecodeError) as error:
        raise TapRefused(HTTPStatus.BAD_REQUEST, str(error)) from error


_VERSION = {"groupVersion": f"{GROUP}/{VERSION}", "version": VERSION}
_GROUP: Object = {"name": GROUP, "versions": [_VERSION], "preferredVersion": _VERSION}
_DISCOVERY: dict[str, Object] = {
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_GROUP]},
    f"/apis/{GROUP}": {"kind": "APIGroup", "apiVersion": "v1", **_GROUP},
    PATH: {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{GROUP}/{VERSION}",
        "resources": api_resources(),
    },
}
"""What Kubernetes asks every API for. There is no OpenAPI: nothing here is ever written."""
