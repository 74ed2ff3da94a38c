"""Streams of lines from the API, and servers that must prove who they are."""

from __future__ import annotations

import socket

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.web.client import URI

from meshtx.errors import ConfigError
from meshtx.kube import api as api_module
from meshtx.kube.api import ApiRefused, ApiUnavailable
from meshtx.net.https import HttpsEndpoints, ServerTls
from tests.kube.api_case import PODS, ApiCase, hold, status
from tests.kube.https_server import LOOPBACK
from tests.net.certificates import make_ca, make_leaf


class TestServers(ApiCase):
    async def test_a_server_of_another_name_is_unavailable_and_never_sees_the_token(self) -> None:
        api = self.connect(self.server, server_name="kubernetes", token="secret-token")
        self.assertEqual(
            str(await self.error(api)), f"GET {PODS}: its certificate is not one for kubernetes (VerificationError)"
        )
        self.assertEqual(self.script.requests, [])

    async def test_a_server_of_another_authority_is_unavailable(self) -> None:
        error = await self.error(self.connect(self.server, ca=make_ca().pem))
        self.assertIsInstance(error, ApiUnavailable)
        self.assertIn("its certificate chain does not verify", str(error))

    async def test_what_was_wrong_with_the_certificate_is_not_told_of_another_trouble(self) -> None:
        api = self.connect(self.server, ca=make_ca().pem)
        await self.error(api)
        await self.server.close()
        self.assertIn("refused", str(await self.error(api)).lower())

    async def test_a_name_may_be_expected_that_is_not_dialled(self) -> None:
        server = self.serve(names=[x509.DNSName("kubernetes")])
        await self.connect(server, server_name="kubernetes").get(PODS)
        self.assertIsInstance(await self.error(self.connect(server)), ApiUnavailable)

    async def test_an_address_of_ipv6_is_dialled_and_expected(self) -> None:
        await self.connect(self.serve(host="::1")).get(PODS)

    async def test_certificates_that_cannot_be_used_are_said_at_the_start(self) -> None:
        own, other = make_leaf(make_ca()), make_leaf(make_ca())
        pem = own.chain[0].public_bytes(Encoding.PEM).decode()
        keys = [
            each.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode() for each in (own, other)
        ]
        self.connect(self.server, certificate=pem, key=keys[0])
        for wrong in (
            {"ca": "none"},
            {"ca": pem},
            {"certificate": pem, "key": keys[1]},
            {"certificate": pem, "key": "none"},
            {"certificate": "none", "key": keys[0]},
            {"server_name": "a..b"},
        ):
            self.assertRaises(ConfigError, self.connect, self.server, **wrong)


class TestStreams(ApiCase):
    def setUp(self) -> None:
        super().setUp()
        self.script.answer = hold
        self.lines: list[bytes] = []
        self.begun = 0

    def begin(self) -> None:
        self.begun += 1

    async def stream(self) -> Deferred[None]:
        asked = self.api.stream(PODS, {"watch": True}, self.lines.append, silence=330.0, begun=self.begin)
        await self.arrived()
        return asked

    async def received(self, *lines: bytes) -> None:
        while self.lines != list(lines):
            await deferLater(reactor, 0.001)

    async def test_lines_come_as_they_are_sent_until_the_server_ends_it(self) -> None:
        asked = await self.stream()
        [request] = self.script.requests
        self.assertEqual((request.uri, self.begun), (b"/api/v1/pods?watch=true", 0))
        request.write(b'{"a":')
        request.write(b"1}\n{}\n")
        await self.received(b'{"a":1}', b"{}")
        self.assertEqual(self.begun, 1)
        request.finish()
        self.assertIsNone(await asked)

    async def test_it_has_a_connection_of_its_own(self) -> None:
        asked = await self.stream()
        self.script.answer = status(200)
        await self.api.get(PODS)
        await self.api.get(PODS)
        self.assertEqual(self.server.connections, 2)
        self.assertEqual([each.getHeader("connection") for each in self.script.requests], ["close", None, None])
        asked.cancel()
        await self.assertFailure(asked, CancelledError)

    async def test_a_dead_peer_is_noticed_by_the_kernel_too(self) -> None:
        endpoints = HttpsEndpoints(reactor, LOOPBACK, self.server.port, ServerTls(LOOPBACK, self.server.ca.trust))
        dialled = endpoints.endpointForURI(URI.fromBytes(b"https://any/")).connect(Factory.forProtocol(Protocol))
        tls = (await dialled).transport
        sock = tls.transport.getHandle()
        self.assertTrue(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
        self.assertLessEqual(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE), 30)
        tls.abortConnection()

    async def test_one_that_ends_within_a_line_is_trouble(self) -> None:
        asked = await self.stream()
        self.script.requests[0].write(b"{}\n{")
        self.script.requests[0].finish()
        error = await self.assertFailure(asked, ApiUnavailable)
        self.assertEqual((str(error), self.lines), (f"GET {PODS}: the answer ended within a line", [b"{}"]))

    async def test_one_that_is_cut_is_trouble(self) -> None:
        asked = await self.stream()
        self.script.requests[0].write(b"{}\n")
        await self.received(b"{}")
        self.server.abort()
        await self.assertFailure(asked, ApiUnavailable)

    async def test_one_that_is_refused_says_how(self) -> None:
        self.script.answer = status(410)
        error = await self.assertFailure(await self.stream(), ApiRefused)
        self.assertEqual((error.status, self.begun), (410, 0))

    async def test_one_that_is_silent_is_aborted(self) -> None:
        asked = await self.stream()
        gone = self.script.requests[0].notifyFinish()
        self.script.requests[0].write(b"{}\n")
        await self.received(b"{}")
        self.reactor.clock.advance(329)
        self.assertNoResult(asked)
        self.reactor.clock.advance(1)
        error = self.failureResultOf(asked, ApiUnavailable).value
        self.assertEqual(str(error), f"GET {PODS}: no byte for 330 s")
        await self.assertFailure(gone, Exception)

    async def test_one_that_does_not_begin_is_unavailable_after_ten_seconds(self) -> None:
        asked = await self.stream()
        self.reactor.clock.advance(10)
        self.failureResultOf(asked, ApiUnavailable)

    async def test_who_cancels_it_aborts_the_connection(self) -> None:
        asked = await self.stream()
        gone = self.script.requests[0].notifyFinish()
        self.script.requests[0].write(b"{}\n")
        await self.received(b"{}")
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        await self.assertFailure(gone, Exception)

    async def test_what_is_raised_over_a_line_is_how_it_ends(self) -> None:
        def refuse(_: bytes) -> None:
            raise ApiUnavailable("not this")

        asked = self.api.stream(PODS, {}, refuse, silence=330.0)
        await self.arrived()
        self.script.requests[0].write(b"{}\n")
        self.assertEqual(str(await self.assertFailure(asked, ApiUnavailable)), "not this")

    async def test_a_line_is_bounded(self) -> None:
        self.patch(api_module, "MAX_LINE", 100)
        asked = await self.stream()
        self.script.requests[0].write(b"x" * 101)
        await self.assertFailure(asked, ApiUnavailable)
