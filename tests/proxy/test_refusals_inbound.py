"""Bar: whom the workload's proxy refuses, with its reason in metric, log and tap; the workload gets not a byte."""

from __future__ import annotations

from cryptography import x509
from twisted.internet.task import Clock

from meshtx.net.failures import TlsError
from meshtx.net.legs import SILENCE
from meshtx.net.origdst import NoOriginalDestination
from meshtx.net.tls import Session
from meshtx.pki.credentials import Credentials
from meshtx.proxy.crowd import Bound
from meshtx.proxy.inbound import Inbound
from meshtx.proxy.policy import Mode, Policy
from meshtx.proxy.workload import Workload
from meshtx.wire.address import Address
from meshtx.wire.transport_header import TransportHeader, encode_header
from tests.net.certificates import DAY, VOTING, WEB, make_ca, make_leaf, now
from tests.proxy.mesh import CA, CLIENT, SERVER, VOTING_LEAF, WEB_LEAF, Host, MeshCase
from tests.proxy.peers import LINKERD, Peer, dial, hello, tls_1_2
from tests.proxy.talkers import Talker

SECRET = b"GET /secret HTTP/1.1\r\nHost: secret.example\r\n\r\n"
LISTED = Policy(Mode.LISTED, frozenset({str(WEB)}))
AUTHENTICATED = Policy(Mode.ALL_AUTHENTICATED)


class InboundCase(MeshCase):
    async def refused(self, server: Host, reason: str, detail: str) -> None:
        """The proxy has told why, everywhere."""
        told, about = await server.refusal()
        self.assertEqual((told, server.refused()), (reason, {("inbound", reason): 1}))
        self.assertIn(detail, about)
        [line] = [line for line in self.lines if line.startswith("inbound ") and "refused" in line]
        self.assertIn(f" refused: {reason} (", line)
        self.assertIn(detail, line)
        await server.live.empty()


class ClientsCertificateTests(InboundCase):
    """Another proxy comes with a certificate that is no good, and hears the alert that says so."""

    async def check(self, leaf: Credentials, reason: str, detail: str, alert: str) -> None:
        client, server = Host(self, CLIENT, leaf), Host(self, SERVER, VOTING_LEAF)
        application = self.application()
        talker = await self.connect(self.pair(application, client, server), Talker(SECRET))
        self.assertEqual(await talker.lost, "reset")
        await self.refused(server, reason, detail)
        self.assertEqual(await client.refusal(), ("rejected_by_peer", alert))
        self.assertEqual(application.connections, [])
        self.assertNotIn(b"secret", self.wire)
        self.assertEqual(server.count("tcp_open_total"), 0)
        self.assertEqual(server.count("meshtx_handshake_duration_seconds_count"), 0)

    async def test_wrong_authority(self) -> None:
        await self.check(make_leaf(make_ca(), WEB), "unknown_issuer", "certificate", "tlsv1 alert unknown ca")

    async def test_expired(self) -> None:
        leaf = make_leaf(CA, WEB, not_before=now() - DAY, not_after=now() - DAY / 24)
        await self.check(leaf, "certificate_expired", "has expired", "tls alert certificate expired")

    async def test_not_yet_valid(self) -> None:
        leaf = make_leaf(CA, WEB, not_before=now() + DAY / 24)
        await self.check(leaf, "certificate_not_yet_valid", "not yet valid", "tls alert bad certificate")

    async def test_no_name_of_a_mesh(self) -> None:
        leaf = make_leaf(CA, WEB, sans=[x509.DNSName("web.example")])
        await self.check(leaf, "not_a_mesh_name", "web.example", "tlsv1 alert internal error")

    async def test_wildcard(self) -> None:
        leaf = make_leaf(CA, WEB, sans=[x509.DNSName(str(WEB).replace("web", "*", 1))])
        await self.check(leaf, "wildcard_name", "*", "tlsv1 alert internal error")

    async def test_no_subject_alternative_name(self) -> None:
        leaf = make_leaf(CA, WEB, sans=[], common_name=str(WEB))
        await self.check(leaf, "no_subject_alternative_name", "", "tlsv1 alert internal error")


class StrangerTests(InboundCase):
    """What is no proxy of the mesh comes to the port of the proxies."""

    def setUp(self) -> None:
        super().setUp()
        self.server = Host(self, SERVER, VOTING_LEAF)

    async def lost(self, peer: Peer) -> None:
        outcome = await peer.outcome
        assert isinstance(outcome, Session)  # TLS 1.3: the client is done first
        self.assertEqual(await peer.talker.lost, "reset")
        self.assertEqual(bytes(peer.talker.got), b"")

    async def test_no_client_certificate(self) -> None:
        peer = await dial(self, self.server.inbound(), None, talker=Talker(SECRET))
        await self.lost(peer)
        await self.refused(self.server, "no_client_certificate", "peer did not return a certificate")

    async def test_tls_1_2(self) -> None:
        peer = Peer(tls_1_2(WEB_LEAF))
        await self.dial(self.server.inbound(), peer.tls)
        outcome = await peer.outcome
        assert isinstance(outcome, TlsError)
        self.assertEqual(outcome.reason.value, "tls_version")
        await self.refused(self.server, "tls_version", "unsupported protocol")

    async def test_no_protocol_of_ours(self) -> None:
        peer = await dial(self, self.server.inbound(), WEB_LEAF, alpn=["h2"])
        outcome = await peer.outcome
        assert isinstance(outcome, TlsError)
        self.assertEqual(outcome.reason.value, "no_application_protocol")
        await self.refused(self.server, "no_application_protocol", "")

    async def test_no_protocol_at_all(self) -> None:
        peer = await dial(self, self.server.inbound(), WEB_LEAF, alpn=[], talker=Talker(SECRET))
        await self.lost(peer)
        await self.refused(self.server, "no_application_protocol", f"{WEB} offers none of")

    async def test_plaintext(self) -> None:
        talker = await self.connect(self.server.inbound(), Talker(SECRET))
        self.assertEqual(await talker.lost, "reset")
        await self.refused(self.server, "tls_required", f"no TLS to {VOTING}")

    async def test_tls_to_nobody(self) -> None:
        talker = await self.connect(self.server.inbound(), Talker(hello("other.example")))
        self.assertEqual((await talker.lost, bytes(talker.got)), ("closed", bytes.fromhex("15030300020270")))
        await self.refused(self.server, "tls_required", "TLS to other.example")

    async def test_no_credentials_yet(self) -> None:
        server = Host(self, SERVER, None)
        talker = await self.connect(server.inbound(), Talker(hello()))
        self.assertEqual(await talker.lost, "reset")
        await self.refused(server, "no_credentials", "nobody has answered")

    async def test_credentials_have_expired(self) -> None:
        self.server.source.replace(None)
        talker = await self.connect(self.server.inbound(), Talker(hello()))
        self.assertEqual(await talker.lost, "reset")
        await self.refused(self.server, "no_credentials", "nobody has answered")

    async def test_a_client_hello_that_is_not_finished(self) -> None:
        for port in (None, 80):
            clock = Clock()
            server = Host(self, SERVER, VOTING_LEAF, clock=clock)
            talker = await self.connect(server.inbound(port))
            talker.transport.write(hello()[:-1])
            await self.held()
            clock.advance(10.0)
            self.assertEqual(await talker.lost, "reset")
            self.assertEqual((await server.refusal())[0], "tls_undecided" if port else "tls_required")
            self.assertEqual((len(server.live), clock.getDelayedCalls()), (0, []))

    async def test_a_handshake_that_is_not_finished(self) -> None:
        clock = Clock()
        server = Host(self, SERVER, VOTING_LEAF, clock=clock)
        talker = await self.connect(server.inbound(), Talker(hello()))
        await talker.has(1000)
        clock.advance(10.0)
        self.assertEqual(await talker.lost, "reset")
        await self.refused(server, "handshake_timeout", "no handshake within 10 s")
        self.assertEqual(clock.getDelayedCalls(), [])

    async def test_no_original_destination(self) -> None:
        def goal(_transport: object) -> None:
            raise NoOriginalDestination("the kernel knows none")

        inbound = Inbound(self.server.parts, Workload(self.server.parts.dialler, {}), goal)  # type: ignore[arg-type]
        talker = await self.connect(self.listen(SERVER, inbound))
        self.assertEqual(await talker.lost, "reset")
        await self.refused(self.server, "no_original_destination", "the kernel knows none")

    async def test_a_defect_before_anything_is_known(self) -> None:
        def goal(_transport: object) -> None:
            raise ZeroDivisionError

        inbound = Inbound(self.server.parts, Workload(self.server.parts.dialler, {}), goal)  # type: ignore[arg-type]
        talker = await self.connect(self.listen(SERVER, inbound))
        self.assertEqual(await talker.lost, "reset")
        await self.refused(self.server, "internal", "ZeroDivisionError")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_a_leg_that_asks_for_nothing_is_waited_for_and_then_closed(self) -> None:
        clock = Clock()
        server = Host(self, SERVER, VOTING_LEAF, clock=clock)
        peer = await dial(self, server.inbound(), WEB_LEAF)
        assert isinstance(await peer.outcome, Session)
        while server.count("meshtx_handshake_duration_seconds_count") != 1:
            await self.turn()
        self.assertEqual((len(server.live), server.count("meshtx_legs_idle", direction="inbound")), (0, 1))
        clock.advance(SILENCE)
        self.assertEqual(await peer.talker.lost, "closed")
        while server.count("meshtx_legs_idle", direction="inbound"):
            await self.turn()
        self.assertEqual(server.count("meshtx_silent_connections_total"), 0)


class BoundTests(InboundCase):
    async def test_past_the_bound_the_oldest_of_those_that_say_nothing_goes(self) -> None:
        server, application = Host(self, SERVER, VOTING_LEAF), self.application()
        server.parts.limits.undecided.bound = Bound(2, 2)
        address = server.inbound(application.address.port)
        decided = await self.connect(address, Talker(SECRET))
        await decided.has(len(SECRET))
        silent = [await self.connect(address) for _ in range(3)]
        self.assertEqual(await silent[0].lost, "reset")
        self.assertEqual(await server.refusal(), ("limit", "too many have not said what they want"))
        self.assertEqual(server.refused(), {("inbound", "limit"): 1})
        for each in silent[1:]:
            each.transport.write(SECRET)
            self.assertEqual(await each.has(len(SECRET)), SECRET)
        self.assertEqual((len(server.live), server.parts.limits.undecided.taken), (3, 0))


class AskedForTests(InboundCase):
    """A peer with a good certificate asks for what it does not get, by either form."""

    async def ask(self, server: Host, port: int, reason: str, detail: str) -> None:
        peer = await dial(self, server.inbound(), WEB_LEAF, alpn=LINKERD)
        peer.talker.made.addCallback(
            lambda _: peer.talker.transport.write(encode_header(TransportHeader(port)) + SECRET)
        )
        self.assertEqual(await peer.talker.lost, "reset")
        await self.refused(server, reason, detail)

    async def test_the_proxy_itself(self) -> None:
        server = Host(self, SERVER, VOTING_LEAF)
        own = server.inbound()
        await self.ask(server, own.port, "loop", f"port {own.port} is this proxy itself")

    async def test_the_proxy_itself_by_a_leg(self) -> None:
        client, server = Host(self, CLIENT, WEB_LEAF), Host(self, SERVER, VOTING_LEAF)
        own = server.inbound()
        client.meshed(Address(SERVER, own.port), VOTING, own)
        talker = await self.connect(client.outbound(own), Talker(SECRET))
        self.assertEqual(await talker.lost, "reset")
        self.assertEqual(await client.refusal(), ("refused_by_peer", "loop"))
        await self.refused(server, "loop", "is this proxy itself")

    async def test_the_port_of_nobody(self) -> None:
        nobody = self.nobody()
        await self.ask(Host(self, SERVER, VOTING_LEAF), nobody.port, "connect_failed", f"connecting to {nobody}")

    async def test_a_name_that_is_not_listed(self) -> None:
        policy = Policy(Mode.LISTED, frozenset({str(VOTING)}))
        application = self.application()
        server = Host(self, SERVER, VOTING_LEAF, policy=policy)
        await self.ask(server, application.address.port, "no_rule", f"{WEB} is not listed")
        self.assertEqual(application.connections, [])

    async def test_an_empty_list_lets_nobody_in(self) -> None:
        application = self.application()
        server = Host(self, SERVER, VOTING_LEAF, policy=Policy(Mode.LISTED))
        await self.ask(server, application.address.port, "no_rule", f"{WEB} is not listed")
        self.assertEqual(application.connections, [])

    async def plaintext(self, policy: Policy, said: bytes, reason: str) -> None:
        application = self.application()
        server = Host(self, SERVER, VOTING_LEAF, policy=policy)
        talker = await self.connect(server.inbound(application.address.port), Talker(said))
        self.assertEqual(await talker.lost, "reset")
        await self.refused(server, "no_rule", f"policy {policy.mode.value}, and the peer proved no name: {reason}")
        self.assertEqual(application.connections, [])

    async def test_plaintext_where_a_name_must_be_proved(self) -> None:
        await self.plaintext(AUTHENTICATED, SECRET, "no_tls_from_remote")

    async def test_plaintext_where_names_are_listed(self) -> None:
        await self.plaintext(LISTED, SECRET, "no_tls_from_remote")

    async def test_the_applications_own_tls_where_a_name_must_be_proved(self) -> None:
        await self.plaintext(AUTHENTICATED, hello("other.example"), "passthru")

    async def test_a_listed_name_comes_in(self) -> None:
        client, server = Host(self, CLIENT, WEB_LEAF), Host(self, SERVER, VOTING_LEAF, policy=LISTED)
        application = self.application()
        talker = await self.connect(self.pair(application, client, server), Talker(SECRET))
        self.assertEqual(await talker.has(len(SECRET)), SECRET)

    async def test_every_proved_name_comes_in_where_a_name_must_be_proved(self) -> None:
        client, server = Host(self, CLIENT, WEB_LEAF), Host(self, SERVER, VOTING_LEAF, policy=AUTHENTICATED)
        application = self.application()
        talker = await self.connect(self.pair(application, client, server), Talker(SECRET))
        self.assertEqual(await talker.has(len(SECRET)), SECRET)


class HeaderTests(InboundCase):
    """Linkerd's form, broken."""

    async def check(self, said: bytes, detail: str, *, ends: bool = False) -> None:
        server = Host(self, SERVER, VOTING_LEAF)
        peer = await dial(self, server.inbound(), WEB_LEAF, alpn=LINKERD, talker=Talker(said))
        if ends:
            peer.talker.made.addCallback(lambda _: peer.talker.transport.loseWriteConnection())
        self.assertEqual(await peer.talker.lost, "reset")
        await self.refused(server, "protocol_error", detail)

    async def test_no_header(self) -> None:
        await self.check(SECRET, "")

    async def test_the_stream_ends_before_it(self) -> None:
        await self.check(encode_header(TransportHeader(80))[:-1], "the stream ended before", ends=True)

    async def test_a_gateway_is_asked_for(self) -> None:
        await self.check(encode_header(TransportHeader(80, "web.other")), "a gateway to web.other")

    async def test_the_connection_is_lost_before_it(self) -> None:
        server = Host(self, SERVER, VOTING_LEAF)
        peer = await dial(self, server.inbound(), WEB_LEAF, alpn=LINKERD)
        while server.count("meshtx_handshake_duration_seconds_count") != 1:
            await self.turn()
        peer.talker.transport.abortConnection()
        await self.refused(server, "protocol_error", "lost before its transport header")

    async def test_none_in_time(self) -> None:
        clock = Clock()
        server = Host(self, SERVER, VOTING_LEAF, clock=clock)
        peer = await dial(self, server.inbound(), WEB_LEAF, alpn=LINKERD)
        while server.count("meshtx_handshake_duration_seconds_count") != 1:
            await self.turn()
        clock.advance(10.0)
        self.assertEqual(await peer.talker.lost, "reset")
        await self.refused(server, "protocol_error", "no transport header within 10 s")
        self.assertEqual(clock.getDelayedCalls(), [])
