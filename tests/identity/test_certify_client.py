"""The client against the service, over TLS and real sockets."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.tcp import Client as TcpClient
from twisted.trial.unittest import TestCase

from meshtx.identity.certify import CertifyArguments
from meshtx.identity.certify_client import CertifyClient
from meshtx.net.contexts import Contexts
from meshtx.net.failures import TlsError, TlsFailure
from meshtx.net.listen import listen
from meshtx.net.sockets import SocketOptions
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.credentials import Credentials
from meshtx.pki.csr import make_csr
from meshtx.pki.keys import new_key
from meshtx.pki.name import Name
from meshtx.rpc.call import Call
from meshtx.rpc.connect import Unreachable, resolve
from meshtx.rpc.messages.identity_pb2 import CertifyRequest, CertifyResponse
from meshtx.rpc.methods import CERTIFY
from meshtx.rpc.server import RpcServer
from meshtx.rpc.status import RpcError, Status
from meshtx.rpc.tls_listener import TlsListener
from meshtx.wire.address import Address
from tests.net.certificates import WEB, make_ca, make_leaf

IDENTITY = Name.parse("meshtx-identity.meshtx.serviceaccount.identity.meshtx.cluster.local")
CA = make_ca()
OTHER_CA = make_ca()


def arguments(trust: TrustBundle = CA.trust, credentials: Credentials | None = None) -> CertifyArguments:
    return CertifyArguments(WEB, b"token", make_csr(new_key(), WEB), trust, credentials)


class CertifyClientTests(TestCase):
    def setUp(self) -> None:
        self.requests: list[tuple[CertifyRequest, Name | None]] = []
        self.failures: list[TlsFailure] = []
        self.addCleanup(self.settle)

    async def settle(self) -> None:
        """Wait until what was closed is closed on both sides."""
        while any(isinstance(each, TcpClient) for each in reactor.getReaders()):
            await deferLater(reactor, 0.001)

    async def answer(self, request: CertifyRequest, call: Call) -> CertifyResponse:
        self.requests.append((request, call.peer))
        return CertifyResponse(leaf_certificate=b"leaf", intermediate_certificates=[b"one", b"two"])

    def serve(self, handler: Any = None, credentials: Credentials | None = None) -> CertifyClient:
        contexts = Contexts(credentials or make_leaf(CA, IDENTITY), CA.trust)
        server = RpcServer({CERTIFY: handler or self.answer}, reactor)
        factory = TlsListener(
            server,
            lambda: contexts,
            reactor,
            require_peer=False,
            failed=lambda error: self.failures.append(error.reason),
        )
        port = listen(reactor, Address.parse("127.0.0.1:0"), factory, SocketOptions())
        self.addCleanup(server.stop, 1)
        self.addCleanup(port.stopListening)
        return CertifyClient(reactor, "localhost", port.getHost().port, IDENTITY)

    async def test_one_call_brings_the_chain(self) -> None:
        client = self.serve()
        asked = arguments()
        answer = await client.certify(asked)
        self.assertEqual((answer.leaf, answer.intermediates), (b"leaf", (b"one", b"two")))
        sent = CertifyRequest(identity=str(WEB), token=b"token", certificate_signing_request=asked.csr)
        self.assertEqual(self.requests, [(sent, None)])

    async def test_a_workload_that_has_a_certificate_presents_it(self) -> None:
        client = self.serve()
        await client.certify(arguments(credentials=make_leaf(CA, WEB)))
        self.assertEqual([peer for _, peer in self.requests], [WEB])

    async def test_a_refusal_of_the_service(self) -> None:
        async def refuse(_request: CertifyRequest, _call: Call) -> CertifyResponse:
            raise RpcError(Status.FAILED_PRECONDITION, "not you")

        error = await self.assertFailure(self.serve(refuse).certify(arguments()), RpcError)
        self.assertEqual((error.status, error.message), (Status.FAILED_PRECONDITION, "not you"))

    async def test_a_service_of_another_authority_gets_no_token(self) -> None:
        client = self.serve()
        error = await self.assertFailure(client.certify(arguments(OTHER_CA.trust)), TlsError)
        self.assertEqual(error.reason, TlsFailure.UNKNOWN_CA)
        self.assertEqual(self.requests, [])

    async def test_a_service_of_another_name_gets_no_token(self) -> None:
        client = self.serve(credentials=make_leaf(CA, WEB))
        error = await self.assertFailure(client.certify(arguments()), TlsError)
        self.assertEqual(error.reason, TlsFailure.WRONG_NAME)
        self.assertEqual(self.requests, [])

    async def test_a_workload_with_a_bad_certificate_is_refused(self) -> None:
        client = self.serve()
        error = await self.assertFailure(client.certify(arguments(credentials=make_leaf(OTHER_CA, WEB))), RpcError)
        self.assertEqual(error.status, Status.UNAVAILABLE)
        self.assertEqual(self.failures, [TlsFailure.UNKNOWN_CA])
        self.assertEqual(self.requests, [])

    async def test_nobody_there(self) -> None:
        port = reactor.listenTCP(0, Factory(), interface="127.0.0.1")
        number = port.getHost().port
        await port.stopListening()
        client = CertifyClient(reactor, "127.0.0.1", number, IDENTITY)
        error = await self.assertFailure(client.certify(arguments()), Unreachable)
        self.assertEqual(str(error), f"connecting to 127.0.0.1:{number}: Connection refused")

    async def test_giving_up_in_a_handshake(self) -> None:
        connected: Deferred[None] = Deferred()
        lost: Deferred[None] = Deferred()

        class Silent(Protocol):
            def connectionMade(self) -> None:
                connected.callback(None)

            def connectionLost(self, reason: Any = None) -> None:
                lost.callback(None)

        factory = Factory.forProtocol(Silent)
        factory.noisy = False
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        asked = CertifyClient(reactor, "127.0.0.1", port.getHost().port, IDENTITY).certify(arguments())
        await connected
        await deferLater(reactor, 0)
        asked.cancel()
        await self.assertFailure(asked, CancelledError)
        await lost

    async def test_giving_up_on_an_answer(self) -> None:
        started: Deferred[None] = Deferred()
        cancelled: Deferred[None] = Deferred()

        async def hang(_request: CertifyRequest, _call: Call) -> CertifyResponse:
            started.callback(None)
            try:
                await Deferred()
            finally:
                cancelled.callback(None)
            raise AssertionError

        asked = self.serve(hang).certify(arguments())
        await started
        asked.cancel()
        await self.assertFailure(asked, CancelledError)
        await cancelled


class ResolveTests(TestCase):
    async def test_an_address_stands_for_itself(self) -> None:
        self.assertEqual(await resolve(reactor, "fd00::1", 80), [Address.parse("[fd00::1]:80")])

    async def test_a_name_has_all_its_addresses(self) -> None:
        self.assertIn(Address.parse("127.0.0.1:80"), await resolve(reactor, "localhost", 80))

    async def test_a_name_without_addresses_has_none(self) -> None:
        self.assertEqual(await resolve(reactor, "nowhere.invalid", 80), [])
        client = CertifyClient(reactor, "nowhere.invalid", 80, IDENTITY)
        error = await self.assertFailure(client.certify(arguments()), Unreachable)
        self.assertEqual(str(error), "the host name nowhere.invalid has no address")

    async def test_giving_up_on_a_name(self) -> None:
        asked = resolve(reactor, "localhost", 80)
        asked.cancel()
        await self.assertFailure(asked, CancelledError)
        await resolve(reactor, "localhost", 80)  # the answer to the first has come and gone
