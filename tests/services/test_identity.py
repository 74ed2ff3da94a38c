"""The service in this process, over real sockets: what it answers, and what it survives."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs, formatEvent
from twisted.web.client import Agent, readBody

from meshtx.config import IdentityConfig
from meshtx.config_load import load
from meshtx.errors import ConfigError, CredentialsError
from meshtx.identity import ca_folder
from meshtx.net.contexts import Contexts
from meshtx.net.dial import Dialler
from meshtx.net.sockets import SocketOptions
from meshtx.net.tls import Session, TlsProtocol
from meshtx.pki.credentials import Credentials
from meshtx.pki.csr import make_csr
from meshtx.pki.keys import new_key
from meshtx.pki.name import Name
from meshtx.rpc.client import RpcClient
from meshtx.rpc.messages.health_pb2 import HealthCheckRequest, HealthCheckResponse
from meshtx.rpc.messages.identity_pb2 import CertifyRequest
from meshtx.rpc.methods import CERTIFY, HEALTH_CHECK
from meshtx.rpc.tls_listener import MAX_HANDSHAKES
from meshtx.services.identity import SERVICE, make
from meshtx.wire.address import Address
from tests.rpc.support import Raw, unary
from tests.services.admin import metrics_status
from tests.services.identity_case import IDENTITY, SCOPE, WEB, IdentityCase

VOTING = SCOPE.name("emojivoto", "voting")


class Expired:
    """An issuer whose time is over."""

    def check(self, _now: datetime) -> None:
        raise CredentialsError("the issuer expired")


class Certifying(IdentityCase):
    async def test_grpcio_gets_a_certificate_that_openssl_verifies(self) -> None:
        self.start()
        key = new_key()
        request = CertifyRequest(identity=str(WEB), token=self.token(), certificate_signing_request=make_csr(key, WEB))
        answer = await self.grpcio(lambda channel: unary(channel, CERTIFY)(request, timeout=10))
        chain = (answer.leaf_certificate, *answer.intermediate_certificates)
        credentials = Credentials.from_chain(key, chain, WEB, self.trust, datetime.now(UTC))
        self.assertEqual(answer.valid_until.ToDatetime(UTC), credentials.not_after)
        self.assertEqual(await deferToThread(self.verify, chain), "leaf.pem: OK\n")

    def verify(self, chain: tuple[bytes, ...]) -> str:
        """Return what openssl says of a leaf and its issuer."""
        folder = Path(self.mktemp())
        folder.mkdir()
        for name, der in zip(("leaf.pem", "issuer.pem"), chain, strict=True):
            (folder / name).write_bytes(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM))
        bundle = (self.mesh / ca_folder.BUNDLE).absolute()
        command = ["openssl", "verify", "-x509_strict", "-CAfile", str(bundle), "-untrusted", "issuer.pem"]
        command += ["-verify_hostname", str(WEB), "leaf.pem"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    async def test_its_name_is_a_setting(self) -> None:
        name = Name.parse("linkerd-identity.linkerd.serviceaccount.identity.linkerd.cluster.local")
        self.start(name=str(name))
        check = unary
        answer = await self.grpcio(lambda channel: check(channel, HEALTH_CHECK)(HealthCheckRequest(), timeout=10), name)
        self.assertEqual(answer.status, HealthCheckResponse.SERVING)

    async def test_a_new_issuer_serves_old_and_new_clients(self) -> None:
        service = self.start()
        before = service.own.credentials
        await self.certify()
        ca_folder.issuer(self.mesh, datetime.now(UTC))
        service.issuer._watch.look()
        self.assertIsNot(service.own.credentials, before)
        answer = await self.certify()
        issuer = service.issuer.loaded.issuer.certificate
        self.assertEqual(answer.intermediates[0], issuer.public_bytes(Encoding.DER))


class Health(IdentityCase):
    async def get(self, path: str) -> tuple[int, str]:
        response = await Agent(reactor).request(b"GET", f"http://127.0.0.1:{self.admin}{path}".encode())
        return response.code, (await readBody(response)).decode()

    def test_its_metrics_are_this_hosts_alone_unless_everybodys(self) -> None:
        for plaintext, status in (("false", 403), ("true", 200)):
            listeners = self.start(admin_plaintext_metrics=plaintext).listeners
            self.assertEqual(metrics_status(listeners, "10.1.0.4"), status)
            self.assertEqual(metrics_status(listeners, "127.0.0.1"), 200)

    async def test_the_admin_site_and_the_health_service_say_whether_it_works(self) -> None:
        service = self.start()
        self.assertEqual(await self.get("/ready"), (200, "ready\n"))
        self.assertEqual((await self.get("/live"))[0], 200)
        await self.certify()
        _, metrics = await self.get("/metrics")
        self.assertIn('meshtx_identity_certify_total{status="OK"} 1.0', metrics)
        self.assertIn("control_identity_cert_expiration_timestamp_seconds", metrics)

        (self.mesh / ca_folder.ISSUER / "tls.key").write_text("no key\n")
        service.issuer._watch.look()
        _, metrics = await self.get("/metrics")
        self.assertIn('meshtx_reload_total{result="rejected",what="issuer"} 1.0', metrics)

        service.issuer.loaded = Expired()  # type: ignore[assignment]
        self.assertEqual(await self.get("/ready"), (503, "not ready: the issuer expired\n"))
        service._judge()
        for name in ("", SERVICE):
            answer = await self.grpcio(
                lambda channel, name=name: unary(channel, HEALTH_CHECK)(HealthCheckRequest(service=name), timeout=10)
            )
            self.assertEqual(answer.status, HealthCheckResponse.NOT_SERVING)


class Surviving(IdentityCase):
    """After each of these a new client is served at once."""

    async def raw(self) -> Raw:
        protocol: Raw = await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", self.port), Raw())
        self.addCleanup(protocol.close)
        return protocol

    async def idle(self) -> RpcClient:
        """Connect with TLS and say hello, and nothing more."""
        client = RpcClient(reactor, authority="idle")
        ready: Deferred[None] = Deferred()

        def established(_session: Session) -> RpcClient:
            reactor.callLater(0, ready.callback, None)
            return client

        connection = Contexts(None, self.trust).client(IDENTITY)
        protocol = TlsProtocol(connection, established, ready.errback, reactor)
        await Dialler(reactor, SocketOptions(), 10).dial(Address.of("127.0.0.1", self.port), protocol)
        await ready
        self.addCleanup(client.close)
        return client

    async def test_garbage(self) -> None:
        service = self.start()
        with capturedLogs() as events:
            for garbage in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"x" * 70_000, b"\0" * 100):
                raw = await self.raw()
                raw.transport.write(garbage)
                raw.transport.loseWriteConnection()
                await raw.lost
        self.assertIn("a caller is refused: ", "".join(map(formatEvent, events)))
        await self.certify()
        self.assertIn(b'tcp_refused_total{direction="inbound"', service.metrics.exposition())

    async def test_a_thousand_idle_connections(self) -> None:
        service = self.start()
        silent = [await self.raw() for _ in range(MAX_HANDSHAKES + 144)]
        await gatherResults([each.lost for each in silent[:144]])
        self.assertFalse(silent[-1].lost.called)
        for _ in range(6):
            await gatherResults([Deferred.fromCoroutine(self.idle()) for _ in range(100)])
        await self.certify()
        self.assertEqual(len(service.rpc.connections.seats), 500)
        self.assertIn(b'tcp_refused_total{direction="inbound",reason="limit"} 101.0', service.metrics.exposition())

    async def test_a_message_of_10_mb_is_refused_and_not_held(self) -> None:
        service = self.start()
        request = CertifyRequest(identity=str(WEB), token=b"x" * 10_000_000)

        def work(channel: grpc.Channel) -> tuple[grpc.StatusCode, str]:
            error = unary(channel, CERTIFY).future(request, timeout=10).exception()
            return error.code(), error.details()

        code, text = await self.grpcio(work)
        self.assertEqual(code, grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.assertIn("at most 65536", text)
        self.assertEqual(service.rpc.budget.left, 64 * 65_536)
        await self.certify()

    async def test_slow_clients(self) -> None:
        """One in its handshake, one in its request; each is given up in its time (see tests.rpc.test_call)."""
        self.start()
        handshake = await self.raw()
        handshake.transport.write(b"\x16\x03\x01\x02\x00\x01")
        client = await self.idle()
        client.send_headers(
            1,
            [
                (":method", "POST"),
                (":scheme", "https"),
                (":path", CERTIFY.path),
                (":authority", "slow"),
                ("content-type", "application/grpc"),
            ],
        )
        client.send_data(1, b"\0\0\0\1\0partly")
        for _ in range(3):
            await self.certify()
        self.assertFalse(handshake.lost.called)


class Configuration(IdentityCase):
    def problem(self, **changed: str) -> str:
        with self.assertRaises(ConfigError) as caught:
            make(reactor, load(IdentityConfig, self.flags(**changed), {}, None))
        return str(caught.exception)

    def test_a_busy_port(self) -> None:
        port = reactor.listenTCP(0, Factory(), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        address = f"127.0.0.1:{port.getHost().port}"
        self.assertEqual(
            self.problem(admin_listen=address),
            f"admin_listen: cannot listen on {address}: address already in use; "
            "stop what listens there, or choose another port",
        )

    def test_a_token_key_that_is_none(self) -> None:
        path = str((self.mesh / ca_folder.ROOT).absolute())
        self.assertEqual(
            self.problem(token_key_file=path),
            f"token_key_file: {path}: holds CERTIFICATE; only PUBLIC KEY blocks belong here; "
            "name the token.pub that 'meshtx ca init' has made",
        )

    def test_an_issuer_that_is_none(self) -> None:
        (self.mesh / "empty").mkdir()
        self.assertIn("empty", self.problem(issuer=str(self.mesh / "empty")))

    def test_a_validator_that_nobody_has(self) -> None:
        flags = self.flags(validator="locale")
        del flags["token_key_file"]
        with self.assertRaises(ConfigError) as caught:
            make(reactor, load(IdentityConfig, flags, {}, None))
        self.assertEqual(str(caught.exception), "validator: there is no validator 'locale'; did you mean 'local'?")

    async def test_it_does_not_start_without_an_issuer(self) -> None:
        flags = self.flags()
        del flags["issuer"]
        with self.assertRaises(ConfigError):
            make(reactor, load(IdentityConfig, flags, {}, None))
