"""Others than the workload connect to an explicit listener: whose connection it is goes on to the peer."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from typing import Any

from twisted.internet.task import Clock

from meshtx.directory.ranges import Networks, Ranges
from meshtx.directory.target import PortFacts
from meshtx.observe.flow import Flow, Known, NoTls, NoTlsReason
from meshtx.pki.name import Name
from meshtx.proxy.balancers import Balancer
from meshtx.proxy.crowd import Bound
from meshtx.proxy.outbound import Outbound
from meshtx.wire.address import Address
from meshtx.wire.proxy_header import SIGNATURE, encode_v2
from tests.net.certificates import VOTING, WEB
from tests.proxy.mesh import CLIENT, SERVER, VOTING_LEAF, WEB_LEAF, Facts, Host, MeshCase
from tests.proxy.talkers import Application, Talker

REAL, FRONT = Address.parse("192.0.2.7:56324"), Address.parse("203.0.113.1:443")
LINE = b"PROXY TCP4 192.0.2.7 203.0.113.1 56324 443\r\n"
LOCAL = SIGNATURE + b"\x20\0\0\0"
BINARY = b"\0\1\2\3\4"
"""No detector takes it for the start of anything."""
LOOPBACK = Networks([ip_network("127.0.0.0/8")])
ANY_PORT = (Balancer.parse("127.0.0.1=1-65535"),)


class GatewayCase(MeshCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.gateway = Host(self, CLIENT, WEB_LEAF, clock=self.clock)
        self.server = Host(self, SERVER, VOTING_LEAF)
        self.believe(WEB)

    def believe(self, *gateways: Name) -> None:
        self.server.parts = replace(self.server.parts, gateways=frozenset(gateways))

    def explicit(self, application: Application, **parts: Any) -> Address:
        """Put an application into the mesh; return where the gateway takes connections for it."""
        self.destination = application.address
        self.pair(application, self.gateway, self.server)
        return self.listener(application.address, **parts)

    def listener(self, destination: Address, **parts: Any) -> Address:
        self.gateway.parts = replace(self.gateway.parts, **parts)
        return self.listen(CLIENT, Outbound(self.gateway.parts, lambda _: destination, explicit=True))

    async def carried(self, address: Address, said: bytes = BINARY) -> tuple[Flow, Flow, Address]:
        """Connect; return how the gateway and the server show it, and the client's own address."""
        for host in (self.gateway, self.server):
            host.taps.events.clear()
        talker = await self.connect(address, Talker(said))
        self.assertEqual(await talker.has(5), BINARY)
        for host in (self.gateway, self.server):
            await host.opened()
        own = talker.transport.getHost()
        return self.gateway.taps.events[-1].flow, self.server.taps.events[-1].flow, Address.of(own.host, own.port)


class CarriedTests(GatewayCase):
    async def check(self, said: bytes, client: Address | None, shown: Known, known: Known, **parts: Any) -> None:
        application = self.application()
        out, into, own = await self.carried(self.explicit(application, **parts), said)
        self.assertEqual((out.src, out.known), (client or own, shown))
        self.assertEqual((into.src, into.known), (client or own, known))
        self.assertEqual(application.got, BINARY)

    async def test_who_connects_directly(self) -> None:
        await self.check(BINARY, None, Known.DIRECT, Known.MESH)

    async def test_whom_a_declared_balancer_connects_for(self) -> None:
        for header in (LINE, encode_v2(REAL, FRONT)):
            await self.check(header + BINARY, REAL, Known.PROXY_HEADER, Known.MESH, balancers=ANY_PORT)

    async def test_that_a_balancer_connects_for_nobody(self) -> None:
        await self.check(LOCAL + BINARY, None, Known.OBSCURED, Known.OBSCURED, balancers=ANY_PORT)

    async def test_that_a_node_hides_who_connects(self) -> None:
        await self.check(BINARY, None, Known.OBSCURED, Known.OBSCURED, ranges=Ranges(nodes=LOOPBACK))

    async def test_which_service_hides_who_connects_is_shown_there_alone(self) -> None:
        listener = self.explicit(self.application(), ranges=Ranges(nodes=LOOPBACK))
        for host in (self.gateway, self.server):
            host.directory.ports[listener.port] = PortFacts(hidden_by="shop/gateway")
        out, into, _ = await self.carried(listener)
        self.assertEqual((out.hidden_by, into.hidden_by), ("shop/gateway", ""))

    async def test_a_header_in_two_pieces(self) -> None:
        application = self.application()
        talker = await self.connect(self.explicit(application, balancers=ANY_PORT), Talker(LINE[:20]))
        while not self.clock.getDelayedCalls():
            await self.turn()
        talker.transport.write(LINE[20:])
        talker.transport.write(BINARY)
        self.assertEqual(await talker.has(5), BINARY)
        await self.server.opened()
        self.assertEqual(self.server.taps.events[-1].flow.src, REAL)

    async def test_a_workload_that_is_not_meshed_gets_what_is_behind_the_header(self) -> None:
        application = self.application()
        address = self.listener(application.address, balancers=ANY_PORT)
        talker = await self.connect(address, Talker(LINE + BINARY))
        self.assertEqual(await talker.has(5), BINARY)
        self.assertEqual(await self.gateway.opened(), NoTls(NoTlsReason.NOT_DISCOVERED))
        self.assertEqual((self.gateway.taps.events[-1].flow.src, application.got), (REAL, BINARY))


class BeliefTests(GatewayCase):
    async def test_a_gateway_that_is_not_named_is_believed_of_its_own_address_alone(self) -> None:
        for named in ((), (VOTING,)):
            self.believe(*named)
            address = self.explicit(self.application(), balancers=ANY_PORT)
            out, into, _ = await self.carried(address, LINE + BINARY)
            self.assertEqual((out.src, out.known), (REAL, Known.PROXY_HEADER))
            self.assertEqual((into.src.host, into.known), ("127.0.0.1", Known.DIRECT))

    async def stranger(self, address: Address) -> None:
        talker = await self.connect(address, Talker(LINE + BINARY))
        self.assertEqual(await talker.has(len(LINE + BINARY)), LINE + BINARY)
        await self.server.opened()
        self.assertEqual({event.flow.src.host for event in self.server.taps.events}, {"127.0.0.1"})

    async def test_a_strangers_header_is_bytes(self) -> None:
        await self.stranger(self.explicit(self.application(), balancers=(Balancer.parse("127.9.9.9=1-65535"),)))

    async def test_a_header_to_another_port_is_bytes(self) -> None:
        await self.stranger(self.explicit(self.application(), balancers=(Balancer.parse("127.0.0.1=1"),)))

    async def test_no_header_is_looked_for_where_the_workload_is_redirected(self) -> None:
        self.gateway.parts = replace(self.gateway.parts, balancers=ANY_PORT)
        await self.stranger(self.pair(self.application(), self.gateway, self.server))

    async def test_the_workload_itself_is_no_node_whatever_its_network(self) -> None:
        self.gateway.parts = replace(self.gateway.parts, ranges=Ranges(nodes=LOOPBACK))
        out, into, own = await self.carried(self.pair(self.application(), self.gateway, self.server))
        self.assertEqual((out.src, out.known, into.src, into.known), (own, Known.DIRECT, own, Known.MESH))


class RefusedTests(GatewayCase):
    async def refused(self, talker: Talker, reason: str, detail: str) -> None:
        self.assertEqual(await talker.lost, "reset")
        self.assertEqual(await self.gateway.refusal(), (reason, detail))
        self.assertEqual(self.gateway.taps.events[0].flow.dst, self.destination)
        self.assertEqual(self.gateway.refused(), {("outbound", reason): 1})

    async def silent(self, address: Address) -> Talker:
        talker = await self.connect(address)
        while not self.clock.getDelayedCalls():
            await self.turn()
        return talker

    async def test_a_connection_without_a_header(self) -> None:
        application = self.application()
        address = self.explicit(application, balancers=ANY_PORT)
        talker = await self.connect(address, Talker(b"GET / HTTP/1.1\r\n\r\n"))
        await self.refused(talker, "proxy_header", "no PROXY header")
        self.assertEqual(application.connections, [])

    async def test_silence_instead_of_a_header(self) -> None:
        talker = await self.silent(self.explicit(self.application(), balancers=ANY_PORT))
        self.clock.advance(10)
        await self.refused(talker, "proxy_header", "no PROXY header within 10 s")

    async def test_the_longest_silent_one_past_the_bound(self) -> None:
        address = self.explicit(self.application(), balancers=ANY_PORT)
        self.gateway.parts.limits.undecided.bound = Bound(1, 1)
        first = await self.silent(address)
        second = await self.connect(address, Talker(LINE + BINARY))
        await self.refused(first, "limit", "too many have not said what they want")
        self.assertEqual(await second.has(5), BINARY)
        self.assertEqual(self.gateway.parts.limits.undecided.taken, 0)

    async def test_a_probe_that_says_nothing_is_a_counter_and_no_line(self) -> None:
        application = self.application()
        address = self.explicit(application, balancers=ANY_PORT, ranges=Ranges(balancers=LOOPBACK))
        talker = await self.silent(address)
        talker.transport.loseConnection()
        while not self.gateway.count("meshtx_silent_connections_total", direction="outbound", source="obscured"):
            await self.turn()
        self.assertEqual((application.connections, self.lines, self.clock.getDelayedCalls()), ([], [], []))

    async def test_a_directory_that_fails_to_say_whose_addresses_are_whose(self) -> None:
        for balancers, fails_at in (((), 1), (ANY_PORT, 1), (ANY_PORT, 2)):
            asked: list[int] = []

            def ranges(_: object, asked: list[int] = asked, fails_at: int = fails_at) -> Ranges:
                asked.append(1)
                return Ranges() if len(asked) < fails_at else self.fail("a plugin's defect")

            self.patch(Facts, "ranges", property(ranges))
            address = self.explicit(self.application(), balancers=balancers)
            talker = await self.connect(address, Talker(LOCAL + BINARY))
            self.assertEqual(await talker.lost, "reset")
            self.assertEqual(len(self.flushLoggedErrors(self.failureException)), 1)
        self.assertEqual(self.gateway.refused(), {("outbound", "internal"): 3})


class LoopTests(GatewayCase):
    async def test_a_gateway_does_not_lead_to_itself(self) -> None:
        address = self.listener(Address(CLIENT, 4143), own_ports=frozenset({4143}))
        talker = await self.connect(address, Talker(BINARY))
        self.assertEqual(await talker.lost, "reset")
        self.assertEqual(self.gateway.refused(), {("outbound", "loop"): 1})

    async def test_a_client_that_is_where_the_connection_goes_is_no_loop(self) -> None:
        application = self.application(ip=Address.parse("127.0.0.1:1").ip)
        address = self.listener(application.address, own_ports=frozenset({application.address.port}))
        talker = await self.connect(address, Talker(BINARY))
        self.assertEqual(await talker.has(5), BINARY)
        self.assertEqual(await self.gateway.opened(), NoTls(NoTlsReason.NOT_DISCOVERED))
