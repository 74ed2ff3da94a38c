"""A key set at an https URL: from whom it is taken, and what else a server may answer."""

from __future__ import annotations

import json

from cryptography import x509
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.internet.tcp import Client as TcpClient
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from meshtx.errors import PeerError
from meshtx.kube.jwks_url import MAX_LENGTH, JwksUrl
from meshtx.pki.bundle import TrustBundle
from tests.kube.https_server import HttpsServer
from tests.net.certificates import make_ca

KEYS = b'{"keys": []}'


class Pages(Resource):
    """Answers by the path, and keeps what it was asked."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[bytes, bytes | None]] = []
        self.arrived: Deferred[Request] = Deferred()

    def render_GET(self, request: Request) -> bytes | int:
        self.asked.append((request.path, request.getHeader(b"accept")))
        match request.path:
            case b"/keys":
                return KEYS
            case b"/elsewhere":
                request.redirect(b"/keys")
            case b"/long":
                return b"x" * (MAX_LENGTH + 1)
            case b"/short":
                request.setHeader("content-length", "100")
                request.write(b"x")
                self.arrived.callback(request)
                return NOT_DONE_YET
            case b"/silent":
                self.arrived.callback(request)
                return NOT_DONE_YET
            case _:
                request.setResponseCode(404)
        return b""


class JwksUrlTests(TestCase):
    timeout = 30

    def setUp(self) -> None:
        self.pages = Pages()
        self.server = self.serve()
        self.addCleanup(self.settle)

    def serve(self, *names: x509.GeneralName) -> HttpsServer:
        server = HttpsServer(self.pages, names=names)
        self.addCleanup(server.close)
        return server

    async def settle(self) -> None:
        while any(isinstance(each, TcpClient) for each in reactor.getReaders()):
            await deferLater(reactor, 0.001)

    def fetch(self, path: str, server: HttpsServer | None = None, trust: TrustBundle | None = None) -> Deferred[bytes]:
        server = server or self.server
        url = JwksUrl(reactor, server.url + path, trust or server.ca.trust)
        return Deferred.fromCoroutine(url.fetch())

    async def problem(self, fetched: Deferred[bytes]) -> str:
        return str(await self.assertFailure(fetched, PeerError))

    async def test_what_is_there_is_asked_for_as_a_key_set(self) -> None:
        self.assertEqual(await self.fetch("/keys"), KEYS)
        self.assertEqual(json.loads(KEYS), {"keys": []})
        self.assertEqual(self.pages.asked, [(b"/keys", b"application/jwk-set+json, application/json")])

    async def test_a_server_that_others_vouch_for_is_not_asked(self) -> None:
        said = await self.problem(self.fetch("/keys", trust=make_ca().trust))
        self.assertIn("its certificate chain does not verify", said)
        self.assertEqual(self.pages.asked, [])

    async def test_a_server_of_another_name_is_not_asked(self) -> None:
        other = self.serve(x509.DNSName("issuer.example"))
        said = await self.problem(self.fetch("/keys", other))
        self.assertIn("its certificate is not one for 127.0.0.1", said)
        self.assertEqual(self.pages.asked, [])

    async def test_any_other_status_is_no_key_set_and_a_redirect_is_not_followed(self) -> None:
        for path, status in (("/elsewhere", 302), ("/nothing", 404)):
            said = await self.problem(self.fetch(path))
            self.assertEqual(said, f"{self.server.url}{path} answers with status {status}")
        self.assertEqual([path for path, _ in self.pages.asked], [b"/elsewhere", b"/nothing"])

    async def test_an_answer_that_is_too_long(self) -> None:
        self.assertIn(f"longer than {MAX_LENGTH} bytes", await self.problem(self.fetch("/long")))

    async def test_an_answer_that_is_cut(self) -> None:
        fetched = self.fetch("/short")
        await self.pages.arrived
        self.server.abort()
        self.assertIn(self.server.url, await self.problem(fetched))

    async def test_nobody_is_there(self) -> None:
        gone = self.serve()
        await gone.close()
        self.assertIn("refused", await self.problem(self.fetch("/keys", gone)))

    async def test_who_does_not_wait_any_more(self) -> None:
        fetched = self.fetch("/silent")
        await self.pages.arrived
        fetched.cancel()
        await self.assertFailure(fetched, CancelledError)
