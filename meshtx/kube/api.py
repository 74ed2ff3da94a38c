"""The Kubernetes API over HTTPS: requests that return JSON objects, and streams of lines.

What goes wrong is one of the errors of `meshtx.kube.api_errors`, and nothing else. A redirect is never
followed: it would carry the token elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal, NoReturn, cast
from urllib.parse import urlsplit

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from meshtx import __version__
from meshtx.errors import ConfigError, MeshtxError
from meshtx.kube.api_config import ApiConfig
from meshtx.kube.api_errors import (
    ApiAnswered,
    ApiError,
    ApiForbidden,
    ApiRefused,
    ApiTooLong,
    ApiUnavailable,
    Object,
    Query,
    error_of,
    is_cancelled,
    object_of,
    said_by_http,
)
from meshtx.kube.api_tls import server_tls
from meshtx.kube.api_token import TokenSource
from meshtx.kube.http_body import Body, Lines, TooLong, Whole
from meshtx.net.https import Borrowed, HttpsEndpoints

__all__ = [
    "ApiAnswered",
    "ApiError",
    "ApiForbidden",
    "ApiRefused",
    "ApiUnavailable",
    "KubeApi",
    "Object",
    "Query",
]

TIMEOUT = 10.0
"""Seconds for a request, its answer included."""
KEPT = 2
"""Connections that wait for the next request."""
IDLE = 60
"""Seconds that a connection is kept for the next request: less than the API server keeps it, which is 90."""
MAX_BODY = 8 * 1024 * 1024
"""Bytes of an answer; 500 pods have 5 MB, and where they have more, fewer are asked for (`meshtx.kube.pages`). What is
read from it may take ten times as much, and a program has 256 MiB."""
MAX_LINE = 8 * 1024 * 1024
"""Bytes of one line of a stream; etcd takes objects of 1.5 MB."""
_ANY_HOST = "kubernetes"
"""Stands in URLs, whose host nobody reads: treq cannot take an IPv6 address there (as of 26.7)."""

_PATCHES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",  # JSON is YAML
}


class KubeApi:
    """A client of one API server, with a pool of connections.

    :param reactor: dials, resolves names, and is the clock.
    :param timeout: seconds for a request, its answer included; for a stream, until it begins.
    :param kept: connections that wait for the next request, at most; more at once cost a handshake each.
    :raises ConfigError: the configuration's certificates or key cannot be used.
    """

    def __init__(
        self,
        reactor: Any,  # many interfaces
        config: ApiConfig,
        *,
        timeout: float = TIMEOUT,
        kept: int = KEPT,
    ) -> None:
        self.config = config
        self._reactor = reactor
        self._clock = cast("IReactorTime", reactor)
        self._timeout = timeout
        server = urlsplit(config.server)
        self._base = f"https://{_ANY_HOST}{server.path.rstrip('/')}"
        self._host = server.netloc
        self._tls = server_tls(config)
        self._endpoints = HttpsEndpoints(reactor, config.host, config.port, self._tls)
        self._token = TokenSource(config.token_file, config.token)
        self._pool = HTTPConnectionPool(reactor)
        self._pool.cachedConnectionTimeout = IDLE
        self._pool.maxPersistentPerHost = kept

    async def get(self, path: str, **query: str | int | bool) -> Object:
        """Return an object, or a list of them.

        :param path: from ``/api`` or ``/apis`` on.
        :raises ApiError: as for every method: `ApiUnavailable`, `ApiForbidden` or `ApiRefused`.
        """
        return await self._request("GET", path, query)

    async def post(self, path: str, body: Object, **query: str | int | bool) -> Object:
        """Create."""
        return await self._request("POST", path, query, body)

    async def patch(
        self,
        path: str,
        body: Object | list[Object],
        kind: Literal["merge", "json", "apply"] = "merge",
        **query: str | int | bool,
    ) -> Object:
        """Change a part.

        :param kind: a merge patch (RFC 7386), a JSON patch (RFC 6902), or an apply, which needs ``fieldManager``.
        """
        return await self._request("PATCH", path, query, body, _PATCHES[kind])

    def stream(
        self,
        path: str,
        query: Query,
        on_line: Callable[[bytes], None],
        *,
        silence: float,
        begun: Callable[[], None] = lambda: None,
    ) -> Deferred[None]:
        """Call with each line of an answer until the server ends it, on a connection of its own.

        Cancel it to abort. What `on_line` raises ends it and is its failure.

        :param silence: seconds without a byte after which the connection counts as dead.
        :param begun: called when the server has taken the request.
        :raises ApiError: as for `get`; also if the answer is cut, or ends within a line.
        """
        return ensureDeferred(self._stream(path, query, Lines(on_line, MAX_LINE), silence, begun))

    def close(self) -> Deferred[None]:
        """Close idle connections; who still streams is not touched."""
        return cast("Deferred[None]", self._pool.closeCachedConnections())

    async def _request(
        self,
        method: str,
        path: str,
        query: Query,
        body: Object | list[Object] | None = None,
        content_type: str = "application/json",
    ) -> Object:
        what = f"{method} {path}"
        asked = ensureDeferred(self._exchange(what, query, body, content_type))
        return await asked.addTimeout(self._timeout, self._clock, self._late(what))

    async def _exchange(self, what: str, query: Query, body: Object | list[Object] | None, content_type: str) -> Object:
        connection = Borrowed(self._pool)
        response = await self._send(what, connection, query, body, content_type)
        return object_of(what, await self._whole(what, connection, response))

    async def _stream(self, path: str, query: Query, lines: Lines, silence: float, begun: Callable[[], None]) -> None:
        what = f"GET {path}"
        connection = Borrowed(HTTPConnectionPool(self._reactor, persistent=False))
        asked = ensureDeferred(self._send(what, connection, query))
        response = await asked.addTimeout(self._timeout, self._clock, self._late(what))
        begun()
        body = Body(lines.receive, self._clock, connection.abort, silence=silence)
        response.deliverBody(body)
        await self._answered(what, body.done)
        self._finish(what, lines)

    def _finish(self, what: str, lines: Lines) -> None:
        try:
            lines.finish()
        except MeshtxError as error:
            raise ApiUnavailable(f"{what}: {error}") from error

    async def _send(
        self,
        what: str,
        connection: Borrowed,
        query: Query,
        body: Object | list[Object] | None = None,
        content_type: str = "application/json",
    ) -> IResponse:
        """Return an answer whose status is a success and whose body is still to be read."""
        method, _, path = what.partition(" ")
        headers = Headers(
            {"Accept": ["application/json"], "Host": [self._host], "User-Agent": [f"meshtx/{__version__}"]}
        )
        data = None
        if body is not None:
            data = json.dumps(body, separators=(",", ":")).encode("utf-8")
            headers.setRawHeaders("Content-Type", [content_type])
        if token := self._bearer(what):
            headers.setRawHeaders("Authorization", [f"Bearer {token}"])
        agent = Agent.usingEndpointFactory(self._reactor, self._endpoints, connection)
        response = await self._answered(
            what,
            HTTPClient(agent).request(
                method,
                self._base + path,
                params={key: _parameter(value) for key, value in query.items()},
                headers=headers,
                data=data,
                allow_redirects=False,
                unbuffered=True,
                reactor=self._reactor,
            ),
        )
        if not 200 <= response.code < 300:
            await self._refuse(what, connection, response)
        return response

    async def _refuse(self, what: str, connection: Borrowed, response: IResponse) -> NoReturn:
        raise error_of(what, response.code, response.headers, await self._whole(what, connection, response))

    async def _whole(self, what: str, connection: Borrowed, response: IResponse) -> bytes:
        whole = Whole(MAX_BODY)
        body = Body(whole.receive, self._clock, connection.abort)
        response.deliverBody(body)
        await self._answered(what, body.done)
        return whole.take()

    async def _answered(self, what: str, waited: Deferred[Any]) -> Any:
        """Wait for a part of an answer; translate whatever the libraries raise, once.

        :raises CancelledError: who asked does not want it any more.
        """
        try:
            return await waited
        except (CancelledError, ApiError):
            raise
        except TooLong as error:
            raise ApiTooLong(f"{what}: {error}") from error
        except Exception as error:
            if is_cancelled(error):
                raise CancelledError from error
            raise ApiUnavailable(f"{what}: {said_by_http(error, self._tls.refused)}") from error

    def _bearer(self, what: str) -> str | None:
        try:
            return self._token.read()
        except ConfigError as error:
            raise ApiUnavailable(f"{what}: {error}") from error

    def _late(self, what: str) -> Callable[[object, float], NoReturn]:
        def late(_: object, seconds: float) -> NoReturn:
            raise ApiUnavailable(f"{what}: no answer within {seconds:g} s")

        return late


def _parameter(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
