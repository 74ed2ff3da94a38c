"""Bar: what the client's proxy refuses, with its reason in metric, log and tap, and not a byte in plaintext."""

from __future__ import annotations

from cryptography import x509
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory
from twisted.internet.task import Clock

from meshtx.directory.target import NotReady, Target
from meshtx.net.origdst import NoOriginalDestination
from meshtx.observe.flow import NoTls, NoTlsReason
from meshtx.pki.credentials import Credentials
from meshtx.proxy.outbound import Outbound
from meshtx.proxy.policy import Mode, Policy
from meshtx.wire.address import Address
from tests.net.certificates import DAY, VOTING, WEB, make_ca, make_leaf, now
from tests.proxy.mesh import CA, CLIENT, SERVER, VOTING_LEAF, WEB_LEAF, Host, MeshCase
from tests.proxy.talkers import Application, Talker

SECRET = b"GET /secret HTTP/1.1\r\nHost: secret.example\r\n\r\n"
ROGUE = make_ca()


class OutboundCase(MeshCase):
    async def refuses(
        self,
        application: Application,
        client: Host,
        address: Address,
        reason: str,
        detail: str,
        *,
        label: str = "outbound",
    ) -> Talker:
        """Connect and speak; the proxy resets the connection, tells why, and lets nothing out."""
        talker = await self.connect(address, Talker(SECRET))
        self.assertEqual(await talker.lost, "reset")
        told, about = await client.refusal()
        self.assertEqual((told, client.refused()), (reason, {(label, reason): 1}))
        self.assertIn(detail, about)
        [line] = [line for line in self.lines if line.startswith(f"{label} ") and "refused" in line]
        self.assertIn(f" refused: {reason} (", line)
        self.assertIn(detail, line)
        self.assertEqual((bytes(talker.got), application.got), (b"", b""))
        self.assertNotIn(b"secret", self.wire)
        self.assertEqual(len(client.live), 0)
        return talker


class ServersCertificateTests(OutboundCase):
    """The client's proxy judges its peer, and never falls back to plaintext."""

    async def check(self, leaf: Credentials, reason: str, detail: str, alert: str) -> None:
        client, server = Host(self, CLIENT, WEB_LEAF), Host(self, SERVER, leaf)
        application = self.application()
        await self.refuses(application, client, self.pair(application, client, server), reason, detail)
        self.assertEqual(application.connections, [])
        self.assertEqual(await server.refusal(), ("rejected_by_peer", alert))
        self.assertEqual(client.count("tcp_open_total"), 0)
        self.assertEqual(client.count("meshtx_handshake_duration_seconds_count"), 0)

    async def test_wrong_authority(self) -> None:
        await self.check(make_leaf(ROGUE, VOTING), "unknown_issuer", "certificate", "tlsv1 alert unknown ca")

    async def test_expired(self) -> None:
        leaf = make_leaf(CA, VOTING, not_before=now() - DAY, not_after=now() - DAY / 24)
        await self.check(leaf, "certificate_expired", "has expired", "tls alert certificate expired")

    async def test_not_yet_valid(self) -> None:
        leaf = make_leaf(CA, VOTING, not_before=now() + DAY / 24)
        await self.check(leaf, "certificate_not_yet_valid", "not yet valid", "tls alert bad certificate")

    async def test_right_authority_but_wrong_name(self) -> None:
        leaf = make_leaf(CA, VOTING, sans=[x509.DNSName(str(WEB))])
        await self.check(leaf, "name_mismatch", f"expected {VOTING}", "tlsv1 alert internal error")

    async def test_wildcard(self) -> None:
        leaf = make_leaf(CA, VOTING, sans=[x509.DNSName(str(VOTING).replace("voting", "*", 1))])
        await self.check(leaf, "wildcard_name", "*", "tlsv1 alert internal error")

    async def test_no_subject_alternative_name(self) -> None:
        leaf = make_leaf(CA, VOTING, sans=[], common_name=str(VOTING))
        await self.check(leaf, "no_subject_alternative_name", "", "tlsv1 alert internal error")

    async def test_a_directory_entry_whose_name_is_not_the_peers(self) -> None:
        client, server = Host(self, CLIENT, WEB_LEAF), Host(self, SERVER, make_leaf(CA, WEB))
        application = self.application()
        address = self.pair(application, client, server, name=VOTING)
        await self.refuses(application, client, address, "name_mismatch", "unrecognized name")
        self.assertEqual(await server.refusal(), ("tls_required", f"TLS to {VOTING}, and this is {WEB}"))


class NoWayTests(OutboundCase):
    async def test_the_directory_never_answers(self) -> None:
        clock = Clock()
        client, server = Host(self, CLIENT, WEB_LEAF, clock=clock), Host(self, SERVER, VOTING_LEAF)
        application = self.application()
        address = self.pair(application, client, server)
        client.directory.silent = True
        client.directory.asked.addCallback(lambda _: clock.advance(5.0))
        await self.refuses(application, client, address, "directory_not_ready", "no answer within 5 s")

    async def test_the_directory_answers_in_its_last_moment(self) -> None:
        clock = Clock()
        client = Host(self, CLIENT, WEB_LEAF, clock=clock)
        application = self.application()
        client.directory.silent = True

        def answer(asked: Deferred[Target]) -> None:
            clock.advance(4.9)
            asked.callback(Target(application.address, "", NoTls(NoTlsReason.NOT_DISCOVERED)))

        client.directory.asked.addCallback(answer)
        talker = await self.connect(client.outbound(application.address), Talker(b"hello"))
        self.assertEqual(await talker.has(5), b"hello")
        self.assertEqual(clock.getDelayedCalls(), [])

    async def test_the_directory_does_not_know(self) -> None:
        client = Host(self, CLIENT, WEB_LEAF)
        application = self.application()
        client.directory.error = NotReady("out of reach, and 127.31.0.2 was never known")
        address = client.outbound(application.address)
        await self.refuses(application, client, address, "directory_not_ready", "out of reach")

    async def test_a_defect_of_the_directory(self) -> None:
        client = Host(self, CLIENT, WEB_LEAF)
        application = self.application()
        client.directory.error = ZeroDivisionError("a plugin's defect")
        address = client.outbound(application.address)
        await self.refuses(application, client, address, "internal", "ZeroDivisionError")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_no_credentials_yet(self) -> None:
        client, server = Host(self, CLIENT, None), Host(self, SERVER, VOTING_LEAF)
        application = self.application()
        address = self.pair(application, client, server)
        await self.refuses(application, client, address, "no_credentials", "nobody has answered")
        self.assertEqual(self.wire, b"")

    async def test_a_loop(self) -> None:
        """The destination is a port of this proxy: at the workload's address, or at that of the listener."""
        client = Host(self, CLIENT, WEB_LEAF)
        own = client.inbound()
        await self.refuses(self.application(), client, client.outbound(own), "loop", "is this proxy itself")

    async def test_a_loop_behind_a_redirect(self) -> None:
        """A redirect brings it to another address than the workload's, which is where it comes from."""
        client = Host(self, CLIENT, WEB_LEAF)
        own = client.inbound()
        outbound = Outbound(client.parts, lambda _: own)
        talker = Talker(SECRET)
        factory = ClientFactory.forProtocol(lambda: talker)
        factory.noisy = False
        # A reset may come before Twisted's connector has seen that it is connected.
        factory.clientConnectionFailed = lambda _, reason: talker.connectionLost(reason)  # type: ignore[method-assign]
        where = self.listen(SERVER, outbound)
        reactor.connectTCP(where.host, where.port, factory, bindAddress=(str(CLIENT), 0))  # type: ignore[attr-defined]
        self.assertEqual(await talker.lost, "reset")
        self.assertEqual((await client.refusal())[0], "loop")

    async def test_no_original_destination(self) -> None:
        client = Host(self, CLIENT, WEB_LEAF)
        address = client.outbound(NoOriginalDestination("the kernel knows none"))
        await self.refuses(self.application(), client, address, "no_original_destination", "the kernel knows none")

    async def test_the_peers_proxy_is_not_there(self) -> None:
        client = Host(self, CLIENT, WEB_LEAF)
        application = self.application()
        client.meshed(application.address, VOTING, self.nobody())
        address = client.outbound(application.address)
        await self.refuses(application, client, address, "connect_failed", "Connection refused")

    async def test_the_destination_is_not_there(self) -> None:
        client = Host(self, CLIENT, WEB_LEAF)
        address = client.outbound(self.nobody())
        await self.refuses(self.application(), client, address, "connect_failed", "Connection refused")

    async def test_the_peers_workload_is_not_there(self) -> None:
        client, server = Host(self, CLIENT, WEB_LEAF), Host(self, SERVER, VOTING_LEAF)
        nobody = Application(self.nobody())
        address = self.pair(nobody, client, server)
        await self.refuses(nobody, client, address, "refused_by_peer", "connect_failed")
        reason, detail = await server.refusal()
        self.assertEqual(reason, "connect_failed")
        self.assertIn(f"connecting to {nobody.address}", detail)

    async def test_the_peers_policy(self) -> None:
        policy = Policy(Mode.LISTED, frozenset({str(VOTING)}))
        client, server = Host(self, CLIENT, WEB_LEAF), Host(self, SERVER, VOTING_LEAF, policy=policy)
        application = self.application()
        address = self.pair(application, client, server)
        await self.refuses(application, client, address, "refused_by_peer", "no_rule")
        self.assertEqual(await server.refusal(), ("no_rule", f"{WEB} is not listed"))
