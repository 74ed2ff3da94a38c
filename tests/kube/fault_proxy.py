"""A proxy before the API server that makes trouble when it is told to.

It ends the client's TLS with a certificate of its own authority and asks the API server as admin. What it forwards
are the real server's bytes; trouble is a request that it answers itself or changes, and a stream of which it keeps the
rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode

from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from meshtx.kube.api_config import ApiConfig
from meshtx.kube.api_tls import server_tls
from meshtx.net.https import Borrowed, HttpsEndpoints
from tests.kube.https_server import HttpsServer


@dataclass(frozen=True)
class Refusal:
    """An answer in place of the API server's."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)


class Relayed(Protocol):
    """One request: the API server's answer on its way to the client."""

    def __init__(self, request: Request, query: dict[str, str]) -> None:
        self.query = query
        """As the client sent it."""
        self.lines = 0
        """That the client got whole."""
        self.gone = False
        """Whether the client's connection is over."""
        self._request = request
        self._upstream = Borrowed(HTTPConnectionPool(reactor, persistent=False))
        self._rest = b""
        self._frozen = False
        self._cut: Callable[[], None] | None = None
        request.notifyFinish().addBoth(self._over)

    async def start(self, config: ApiConfig, target: bytes) -> None:
        endpoints = HttpsEndpoints(reactor, config.host, config.port, server_tls(config))
        agent = Agent.usingEndpointFactory(reactor, endpoints, self._upstream)
        response: IResponse = await agent.request(b"GET", b"https://kubernetes" + target, Headers())
        if self.gone:
            self._upstream.abort()
            return
        self._request.setResponseCode(response.code)
        response.deliverBody(self)

    def dataReceived(self, data: bytes) -> None:
        """Forward whole lines, and so have each of them to cut."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._forward(line + b"\n")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.gone or self._frozen:
            return
        if reason.check(ResponseDone):
            self._request.write(self._rest)
            self._request.finish()
        else:
            self.reset()

    def _forward(self, line: bytes) -> None:
        if self.gone or self._frozen:
            return
        if self._cut is None:
            self.lines += 1
            self._request.write(line)
            return
        self._request.write(line[: len(line) // 2])
        self._cut()

    # Trouble

    def reset(self) -> None:
        """Reset the client's connection."""
        if not self.gone:
            self._request.channel.transport.abortConnection()

    def cut_in_the_next_line(self, *, in_order: bool) -> None:
        """Let the client have half of the next line and no more.

        :param in_order: the answer then ends as if it were whole; else the connection is reset.
        """
        self._cut = self._request.finish if in_order else self.reset

    def freeze(self) -> None:
        """Let the client have nothing any more, and no end either."""
        self._frozen = True

    def report(self, code: int) -> None:
        """Send an error in place of an event and end the answer, as the API server does."""
        status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": code}
        self._request.write(json.dumps({"type": "ERROR", "object": status}).encode() + b"\n")
        self._request.finish()

    def _over(self, _: object) -> None:
        self.gone = True
        self._upstream.abort()


class FaultProxy(Resource):
    """The proxy.

    :param config: how to reach the API server.
    """

    isLeaf = True

    def __init__(self, config: ApiConfig) -> None:
        super().__init__()
        self.requests: list[Relayed] = []
        self.refusals: list[Refusal] = []
        """Answers to the next requests."""
        self.overrides: dict[str, str] = {}
        """Parameters of requests, where they have them, that the API server gets changed."""
        self._config = config
        self._server = HttpsServer(self)
        self.close = self._server.close

    @property
    def client_config(self) -> ApiConfig:
        """How to reach the proxy."""
        return ApiConfig(self._server.url, self._server.ca.pem)

    @property
    def last(self) -> Relayed:
        """The last request."""
        return self.requests[-1]

    def render_GET(self, request: Request) -> bytes | int:
        path, _, text = request.uri.decode().partition("?")
        query = dict(parse_qsl(text))
        relayed = Relayed(request, query)
        self.requests.append(relayed)
        if self.refusals:
            refusal = self.refusals.pop(0)
            request.setResponseCode(refusal.status)
            for name, value in refusal.headers.items():
                request.setHeader(name, value)
            return b"{}"
        changed = {name: self.overrides.get(name, value) for name, value in query.items()}
        started = ensureDeferred(relayed.start(self._config, f"{path}?{urlencode(changed)}".encode()))
        started.addErrback(lambda _: relayed.reset())
        return NOT_DONE_YET
