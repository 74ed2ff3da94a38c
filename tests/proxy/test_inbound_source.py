"""What a connection's source changes: when its workload is dialled, what silence is, who is shown as the client."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from typing import Any

from twisted.internet.task import Clock

from meshtx.directory.ranges import Networks, Ranges
from meshtx.directory.target import PortFacts
from meshtx.net.tls import Session
from meshtx.observe.flow import Flow, Known
from meshtx.pki.name import Name
from meshtx.proxy.balancers import Balancer
from meshtx.proxy.ends import End
from meshtx.proxy.introduction import Introductions
from meshtx.proxy.policy import Mode, Policy
from meshtx.wire.address import Address
from meshtx.wire.leg_frames import Open
from meshtx.wire.ports import PortRange
from meshtx.wire.proxy_header import SIGNATURE
from tests.net.certificates import VOTING, WEB
from tests.net.leg_ends import asking
from tests.proxy.mesh import EVERYBODY, ITSELF, SERVER, VOTING_LEAF, WEB_LEAF, Host, MeshCase
from tests.proxy.peers import dial
from tests.proxy.talkers import Talker

BANNER = b"220 ready\r\n"
BINARY = b"\0\1\2\3\4"
"""No detector takes it for the start of anything."""
LOOPBACK = Networks([ip_network("127.0.0.0/8")])
ELSEWHERE = Networks([ip_network("10.1.0.0/16")])
CARRIED = Address.parse("203.0.113.7:999")


class SourceCase(MeshCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()

    def host(self, ranges: Ranges | None = None, policy: Policy = EVERYBODY, **parts: Any) -> Host:
        server = Host(self, SERVER, VOTING_LEAF, policy=policy, clock=self.clock)
        server.parts = replace(server.parts, ranges=ranges or Ranges(), **parts)
        return server


class SilenceTests(SourceCase):
    async def test_a_source_that_cannot_be_meshed_hears_the_server_at_once(self) -> None:
        for ranges in (Ranges(nodes=LOOPBACK), Ranges(balancers=LOOPBACK), Ranges(pods=ELSEWHERE)):
            server, application = self.host(ranges), self.application(lambda: Talker(BANNER))
            talker = await self.connect(server.inbound(application.address.port))
            self.assertEqual(await talker.has(len(BANNER)), BANNER)  # the clock stands still

    async def test_a_pod_has_time_for_its_hello(self) -> None:
        server, application = self.host(Ranges(pods=LOOPBACK)), self.application(lambda: Talker(BANNER))
        talker = await self.connect(server.inbound(application.address.port))
        while not server.live:
            await self.turn()
        self.assertEqual(server.parts.early.open, 0)
        self.clock.advance(0.02)
        self.assertEqual(await talker.has(len(BANNER)), BANNER)

    async def probe(self, ranges: Ranges, port: int | None) -> Host:
        server = self.host(ranges, Policy(Mode.ALL_AUTHENTICATED))
        talker = await self.connect(server.inbound(port))
        while not server.live:
            await self.turn()
        self.clock.advance(10.0)
        self.assertEqual(await talker.lost, "reset")
        return server

    async def test_a_probe_that_is_held_open_is_a_counter_by_its_source_and_no_line(self) -> None:
        for port in (None, 80):
            server = await self.probe(Ranges(nodes=LOOPBACK), port)
            self.assertEqual(server.count("meshtx_silent_connections_total", source="obscured"), 1)
            self.assertEqual((server.refused(), self.lines), ({}, []))

    async def test_another_that_says_nothing_is_refused(self) -> None:
        for port, reason in ((80, "no_rule"), (None, "tls_required")):
            server = await self.probe(Ranges(pods=LOOPBACK), port)
            self.assertEqual(server.refused(), {("inbound", reason): 1})

    async def test_from_a_node_too_silence_goes_to_a_workload_that_anybody_may_come_to(self) -> None:
        """It was not dialled early, for it is told who connects."""
        application = self.application(lambda: Talker(BANNER))
        introductions = Introductions([PortRange(1, 65535)])
        server = self.host(Ranges(nodes=LOOPBACK), introductions=introductions)
        talker = await self.connect(server.inbound(application.address.port))
        while not server.live:
            await self.turn()
        self.clock.advance(10.0)
        self.assertEqual(await talker.has(len(BANNER)), BANNER)


class ShownTests(SourceCase):
    async def test_that_a_client_is_obscured_is_shown_and_logged(self) -> None:
        server, nobody = self.host(Ranges(nodes=LOOPBACK)), self.nobody()
        talker = await self.connect(server.inbound(nobody.port))
        self.assertEqual(await talker.lost, "reset")
        await server.refusal()
        self.assertEqual(server.taps.events[0].flow.known, Known.OBSCURED)
        [line] = self.lines
        self.assertIn(" (obscured) -> ", line)

    async def hidden(self, ranges: Ranges, said: bytes = b"", **parts: Any) -> tuple[Known, str]:
        """Come to a port of which the directory says that a Service hides its clients; return how that is shown."""
        server, application = self.host(ranges, **parts), self.application()
        server.directory.ports[application.address.port] = PortFacts(hidden_by="shop/web")
        talker = await self.connect(server.inbound(application.address.port), Talker(said + BINARY))
        self.assertEqual(await talker.has(len(BINARY)), BINARY)
        await server.opened()
        flow = server.taps.events[-1].flow
        return flow.known, flow.hidden_by

    async def test_which_service_hides_a_client_is_shown_and_logged(self) -> None:
        for ranges in (Ranges(nodes=LOOPBACK), Ranges(balancers=LOOPBACK)):
            self.assertEqual(await self.hidden(ranges), (Known.OBSCURED, "shop/web"))
        server, nobody = self.host(Ranges(nodes=LOOPBACK)), self.nobody()
        server.directory.ports[nobody.port] = PortFacts(hidden_by="shop/web")
        await (await self.connect(server.inbound(nobody.port))).lost
        [line] = self.lines
        self.assertIn(" (obscured by shop/web) -> ", line)

    async def test_none_hides_whom_the_proxy_sees(self) -> None:
        for ranges in (Ranges(pods=LOOPBACK), Ranges(pods=ELSEWHERE), Ranges()):
            self.assertEqual(await self.hidden(ranges), (Known.DIRECT, ""))

    async def test_none_hides_whom_a_declared_balancer_tells(self) -> None:
        """Until its header is there it is a balancer like any other."""
        told, nobody = b"PROXY TCP4 192.0.2.7 203.0.113.1 56324 443\r\n", SIGNATURE + b"\x20\0\0\0"
        declared = (Balancer.parse("127.0.0.1=1-65535"),)
        for header, known in ((told, Known.PROXY_HEADER), (nobody, Known.OBSCURED)):
            shown = await self.hidden(Ranges(balancers=LOOPBACK), header, balancers=declared)
            self.assertEqual(shown, (known, ""))

    async def test_that_one_hides_them_lets_nobody_in_and_is_no_probe_less(self) -> None:
        server = self.host(Ranges(nodes=LOOPBACK), Policy(Mode.ALL_AUTHENTICATED))
        server.directory.ports[80] = PortFacts(hidden_by="shop/web")
        address = server.inbound(80)
        await (await self.connect(address, Talker(BINARY))).lost
        self.assertEqual(server.refused(), {("inbound", "no_rule"): 1})
        silent = await self.connect(address)
        while not server.live:
            await self.turn()
        self.clock.advance(10.0)
        self.assertEqual(await silent.lost, "reset")
        self.assertEqual(server.count("meshtx_silent_connections_total", source="obscured"), 1)

    async def carried(self, *gateways: Name) -> tuple[Address, Known]:
        """Come from a proxy that says whom it connects for; return who is shown."""
        flow = await self.on_a_leg(self.host(gateways=frozenset(gateways)))
        return flow.src, flow.known

    async def on_a_leg(self, server: Host) -> Flow:
        application = self.application()
        peer = await dial(self, server.inbound(), WEB_LEAF)
        assert isinstance(await peer.outcome, Session)
        await peer.talker.made
        transport: Any = peer.talker.transport
        leg = asking(Open(application.address.port, "", CARRIED), End(), self.clock)
        transport.protocol = leg
        leg.makeConnection(transport)
        accepted = application.next()
        await accepted
        transport.abortConnection()
        await server.ended()
        return server.taps.events[-1].flow

    async def test_which_service_hides_another_proxy_is_shown_with_what_it_carries(self) -> None:
        server = self.host(Ranges(nodes=LOOPBACK))
        server.directory.ports[ITSELF] = PortFacts(hidden_by="shop/proxy")
        flow = await self.on_a_leg(server)
        self.assertEqual((flow.known, flow.hidden_by), (Known.OBSCURED, "shop/proxy"))

    async def test_a_gateway_is_believed_whose_connection_it_carries(self) -> None:
        self.assertEqual(await self.carried(WEB), (CARRIED, Known.MESH))

    async def test_nobody_else_is(self) -> None:
        src, known = await self.carried(VOTING)
        self.assertEqual((src == CARRIED, known), (False, Known.DIRECT))
