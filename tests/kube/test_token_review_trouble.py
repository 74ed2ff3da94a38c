"""The validator and its API client before a server that has trouble, over real sockets: none of it is a denial."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.tcp import Client as TcpClient
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Request

from meshtx.identity.validator import ValidatorUnavailable
from meshtx.kube.api import KubeApi
from meshtx.kube.api_config import ApiConfig
from meshtx.kube.token_review import ATTEMPTS, TokenReviewValidator
from meshtx.pki.name import MeshScope, Name
from tests.kube.api_case import Answer, hold, status
from tests.kube.https_server import HttpsServer
from tests.kube.test_token_review import yes

TOKEN = b"eyJ.payload.signature"
SCOPE = MeshScope()
WEB = SCOPE.name("shop", "web")


class Reviews(Resource):
    """Answers each request by the next of these; the last one stays."""

    isLeaf = True

    def __init__(self, *answers: Answer) -> None:
        super().__init__()
        self.answers = list(answers)
        self.asked = 0

    def render_POST(self, request: Request) -> bytes | int:
        self.asked += 1
        return (self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])(request)


GOOD = status(201, json.dumps(yes()).encode())


class TroubleTests(TestCase):
    timeout = 30

    def setUp(self) -> None:
        self.addCleanup(self.settle)

    async def settle(self) -> None:
        while any(isinstance(each, TcpClient) for each in reactor.getReaders()):
            await deferLater(reactor, 0.001)

    def validate(self, *answers: Answer) -> Deferred[Name]:
        self.pages = Reviews(*answers)
        self.server = server = HttpsServer(self.pages)
        self.addCleanup(server.close)
        api = KubeApi(reactor, ApiConfig(server.url, server.ca.trust.to_pem().decode(), token="ours"), timeout=0.3)
        self.addCleanup(api.close)
        return TokenReviewValidator(api, reactor, jitter=lambda: -0.4).validate(TOKEN, SCOPE, 0.0)

    async def unavailable(self, *answers: Any) -> str:
        return str(await self.assertFailure(self.validate(*answers), ValidatorUnavailable))

    async def test_a_server_that_answers_is_believed(self) -> None:
        self.assertEqual(await self.validate(GOOD), WEB)

    async def test_each_status_that_is_no_answer(self) -> None:
        for code in (400, 404, 409, 422, 429, 500, 502, 503, 504):
            self.assertIn("the token cannot be judged: ", await self.unavailable(status(code, b"<html>")))
            self.assertEqual(self.pages.asked, ATTEMPTS)

    async def test_our_own_permissions(self) -> None:
        for code in (401, 403):
            self.assertIn("the token cannot be judged: ", await self.unavailable(status(code)))
            self.assertEqual(self.pages.asked, 1)

    async def test_answers_that_cannot_be_understood(self) -> None:
        for body in (b"", b"<html>", b"[]", b"7", b"{}", b'{"status": "Failure"}', b"[" * 50_000, b"\xff"):
            self.assertIn("the token cannot be judged: ", await self.unavailable(status(200, body)))

    async def test_a_redirect_does_not_get_the_token(self) -> None:
        other = HttpsServer(Reviews(GOOD))
        self.addCleanup(other.close)
        self.assertIn("the token cannot be judged: ", await self.unavailable(status(307, location=other.url)))
        self.assertEqual(other.connections, 0)

    async def test_a_server_that_is_silent(self) -> None:
        self.assertIn("no answer within 0.3 s", await self.unavailable(hold))

    async def test_a_server_that_is_silent_once(self) -> None:
        self.assertEqual(await self.validate(hold, GOOD), WEB)

    async def test_a_server_that_asks_for_a_moment(self) -> None:
        self.assertEqual(await self.validate(status(429, retry_after="0"), GOOD), WEB)

    async def test_nobody_there(self) -> None:
        asked = self.validate(GOOD)
        await self.server.close()
        await self.assertFailure(asked, ValidatorUnavailable)
