"""What comes in and is no leg: plaintext, the application's own TLS, TLS for us on an ordinary port."""

from __future__ import annotations

from twisted.internet.task import Clock

from meshtx.directory.target import PortFacts
from meshtx.net.tls import Session
from meshtx.observe.flow import Mtls, NoTls, NoTlsReason
from tests.net.certificates import WEB, make_leaf
from tests.pki.made import SCOPE
from tests.proxy.mesh import CA, SERVER, VOTING_LEAF, WEB_LEAF, Host, MeshCase
from tests.proxy.peers import dial, hello, serve
from tests.proxy.talkers import Echo, Talker

BINARY = b"\0\1\2\3\4"
"""No detector takes it for the start of anything."""
OTHER = SCOPE.name("emojivoto", "application")


class PlaintextTests(MeshCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.server = Host(self, SERVER, VOTING_LEAF, clock=self.clock)

    async def test_bytes_that_are_no_tls_go_to_the_workload_at_once(self) -> None:
        application = self.application()
        talker = await self.connect(self.server.inbound(application.address.port), Talker(b"\0"))
        self.assertEqual(await talker.has(1), b"\0")
        self.assertEqual(await self.server.opened(), NoTls(NoTlsReason.NO_TLS_FROM_REMOTE))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_a_half_closed_exchange_gets_its_whole_answer(self) -> None:
        application = self.application(lambda: Talker(closes=False))
        accepted = application.next()
        talker = await self.connect(self.server.inbound(application.address.port), Talker(b"question"))
        talker.transport.loseWriteConnection()
        app = await accepted
        await app.eof
        app.transport.write(b"a" * 300_000)
        app.transport.loseConnection()
        self.assertEqual(await talker.lost, "closed")
        self.assertEqual((len(talker.got), application.got), (300_000, b"question"))
        await self.server.live.empty()
        end = await self.server.ended()
        self.assertEqual((end.error, end.sent, end.received), (None, 8, 300_000))

    async def test_a_client_that_only_listens_is_answered_where_servers_speak_first(self) -> None:
        application = self.application(lambda: Talker(closes=False))
        accepted = application.next()
        self.server.parts.early.speakers.server_spoke(application.address.port)
        talker = await self.connect(self.server.inbound(application.address.port))
        talker.transport.loseWriteConnection()
        app = await accepted
        await app.eof
        app.transport.write(b"220 it is noon")
        app.transport.loseConnection()
        self.assertEqual((await talker.lost, talker.got), ("closed", b"220 it is noon"))

    async def test_a_hello_that_ends_amidst_is_a_reset(self) -> None:
        app = self.application()
        talker = await self.connect(self.server.inbound(app.address.port), Talker(hello()[:50]))
        talker.transport.loseWriteConnection()
        self.assertEqual(await talker.lost, "reset")
        self.assertEqual(self.server.refused(), {("inbound", "tls_undecided"): 1})

    async def test_a_silent_connection_for_which_there_is_no_place_waits_on(self) -> None:
        """Silent probes by the thousand are no connections to the workload by the thousand."""
        self.server = Host(self, SERVER, VOTING_LEAF, clock=self.clock, early_dials=0)
        application = self.application(lambda: Talker(b"220 ready"))
        talker = await self.connect(self.server.inbound(application.address.port))
        while not self.clock.getDelayedCalls():
            await self.turn()
        for _ in range(10):
            self.clock.advance(9.9)
            await self.turn()
        self.assertEqual((application.connections, self.server.refused()), ([], {}))
        talker.transport.write(BINARY)
        self.assertEqual(await talker.has(9), b"220 ready")
        self.assertEqual(await self.server.opened(), NoTls(NoTlsReason.NO_TLS_FROM_REMOTE))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_a_probe_that_says_nothing_is_a_counter_and_no_line(self) -> None:
        application = self.application()
        talker = await self.connect(self.server.inbound(application.address.port))
        talker.transport.loseConnection()
        await talker.lost
        while not self.server.count("meshtx_silent_connections_total", direction="inbound"):
            await self.turn()
        self.assertEqual((application.connections, self.lines, self.clock.getDelayedCalls()), ([], [], []))
        self.assertEqual(len(self.server.live), 0)

    async def check_not_looked_at(self, facts: PortFacts) -> None:
        """A server that speaks first is heard at once; a ClientHello is bytes like any other."""
        application = self.application(lambda: Talker(b"220 ready"))
        self.server.directory.ports[application.address.port] = facts
        talker = await self.connect(self.server.inbound(application.address.port))
        self.assertEqual(await talker.has(9), b"220 ready")
        request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        talker.transport.write(request)
        await application.connections[0].has(len(request))
        self.assertEqual(await self.server.opened(), NoTls(NoTlsReason.PORT_SKIPPED))
        self.assertEqual(self.server.count("request_total"), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_an_opaque_port_is_not_looked_at(self) -> None:
        await self.check_not_looked_at(PortFacts(opaque=True))

    async def test_a_skipped_port_is_not_looked_at(self) -> None:
        await self.check_not_looked_at(PortFacts(skipped=True))

    async def test_requests_are_observed(self) -> None:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        application = self.application(lambda: Talker(answer))
        request = b"GET /api HTTP/1.1\r\nHost: a\r\n\r\n"
        talker = await self.connect(self.server.inbound(application.address.port), Talker(request))
        self.assertEqual(await talker.has(len(answer)), answer)
        self.assertEqual(self.server.count("request_total", no_tls_reason="no_tls_from_remote"), 1)

    async def test_a_forward_leads_elsewhere(self) -> None:
        """Without a redirect clients connect to a port of the proxy, which stands for one of the workload."""
        application = self.application()
        address = self.server.inbound(8080, {8080: application.address})
        talker = await self.connect(address, Talker(BINARY))
        self.assertEqual(await talker.has(5), BINARY)
        await self.server.opened()
        self.assertEqual(self.server.taps.events[0].flow.dst, application.address)

    async def test_a_workload_that_is_not_there(self) -> None:
        nobody = self.nobody()
        talker = await self.connect(self.server.inbound(nobody.port), Talker(BINARY))
        self.assertEqual(await talker.lost, "reset")
        reason, detail = await self.server.refusal()
        self.assertEqual(reason, "connect_failed")
        self.assertIn(str(nobody), detail)

    async def test_a_reset_by_the_workload_is_a_reset(self) -> None:
        application = self.application(lambda: Talker(b"part of an ans"))
        accepted = application.next()
        talker = await self.connect(self.server.inbound(application.address.port), Talker(b"question"))
        app = await accepted
        await talker.has(14)
        app.transport.abortConnection()
        self.assertEqual(await talker.lost, "reset")
        self.assertEqual((await self.server.ended()).error, "reset")


class TlsTests(MeshCase):
    async def test_the_applications_own_tls_passes_untouched(self) -> None:
        server = Host(self, SERVER, VOTING_LEAF)
        own = serve(self, SERVER, make_leaf(CA, OTHER), ["h2"], [Echo()])
        peer = await dial(self, server.inbound(own.port), WEB_LEAF, name=OTHER, alpn=["h2"])
        session = await peer.outcome
        assert isinstance(session, Session)
        await peer.talker.made
        self.assertEqual((session.peer, session.alpn), (OTHER, "h2"))
        peer.talker.transport.write(BINARY)
        self.assertEqual(await peer.talker.has(5), BINARY)
        self.assertEqual(await server.opened(), NoTls(NoTlsReason.PASSTHROUGH))
        self.assertEqual(server.count("tcp_open_total", tls="opaque"), 1)

    async def test_tls_to_us_on_an_ordinary_port_is_ours(self) -> None:
        """Linkerd's own form on a port of the workload: the port says what is meant, no ALPN is needed."""
        server, application = Host(self, SERVER, VOTING_LEAF), self.application()
        peer = await dial(self, server.inbound(application.address.port), WEB_LEAF, alpn=[])
        await peer.talker.made
        peer.talker.transport.write(BINARY)
        self.assertEqual(await peer.talker.has(5), BINARY)
        self.assertEqual(await server.opened(), Mtls(WEB, ""))
        peer.talker.transport.loseWriteConnection()
        self.assertEqual((await peer.talker.lost, application.got), ("closed", BINARY))

    async def test_a_hello_in_two_pieces(self) -> None:
        server, application = Host(self, SERVER, VOTING_LEAF), self.application()
        talker = await self.connect(server.inbound(application.address.port), Talker(hello()[:100]))
        await self.held()
        self.assertEqual(application.connections, [])
        talker.transport.write(hello()[100:])
        answer = await talker.has(1000)
        self.assertEqual(answer[:1], b"\x16")
        self.assertEqual(application.connections, [])
