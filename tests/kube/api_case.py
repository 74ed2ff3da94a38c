"""A client of the API, and a server that answers as it is told: real sockets, real TLS, a clock that a test moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from meshtx.kube.api import ApiError, KubeApi
from meshtx.kube.api_config import ApiConfig
from tests.kube.https_server import HttpsServer
from tests.kube.stepped_reactor import SteppedReactor

PODS = "/api/v1/pods"
Answer = Callable[[Request], "bytes | int"]


class Scripted(Resource):
    """Answers every request by a function that a test may replace."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Request] = []
        self.bodies: list[bytes] = []
        self.answer: Answer = lambda _: b"{}"

    def render(self, request: Request) -> bytes | int:
        self.requests.append(request)
        self.bodies.append(request.content.read())
        return self.answer(request)


def status(code: int, body: bytes = b"{}", **headers: str) -> Answer:
    def answer(request: Request) -> bytes:
        request.setResponseCode(code)
        for name, value in headers.items():
            request.setHeader(name.replace("_", "-"), value)
        return body

    return answer


def hold(_: Request) -> int:
    return NOT_DONE_YET


class ApiCase(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.script = Scripted()
        self.server = self.serve()
        self.reactor = SteppedReactor()
        self.addCleanup(lambda: self.assertEqual(self.reactor.getDelayedCalls(), []))
        self.api = self.connect(self.server, token="secret-token")

    def serve(self, **how: Any) -> HttpsServer:
        server = HttpsServer(self.script, **how)
        self.addCleanup(server.close)
        return server

    def connect(self, server: HttpsServer, **config: Any) -> KubeApi:
        given = {"server": server.url, "ca": server.ca.pem, **config}
        api = KubeApi(self.reactor, ApiConfig(**given))
        self.addCleanup(api.close)
        return api

    async def error(self, api: KubeApi | None = None) -> ApiError:
        asked = ensureDeferred((api or self.api).get(PODS))
        while not asked.called:
            await deferLater(reactor, 0.001)
            self.reactor.clock.advance(0.01)  # the dialler looks at the clock before it gives up
        return await self.assertFailure(asked, ApiError)

    async def arrived(self, count: int = 1) -> None:
        while len(self.script.requests) < count:
            await deferLater(reactor, 0.001)
