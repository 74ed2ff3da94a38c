"""Clients behind a balancer that says who they are, and a workload that wants to know."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.task import Clock

from meshtx.directory.target import PortFacts
from meshtx.observe.flow import NoTls, NoTlsReason
from meshtx.proxy.balancers import Balancer
from meshtx.proxy.introduction import Introductions
from meshtx.wire.address import Address
from meshtx.wire.ports import PortRange
from meshtx.wire.proxy_header import (
    ALPN,
    AUTHORITY,
    PEER_IDENTITY,
    SIGNATURE,
    ProxyHeader,
    ProxyHeaderParser,
    encode_v2,
)
from tests.proxy.mesh import SERVER, VOTING_LEAF, WEB_LEAF, Host, MeshCase
from tests.proxy.peers import hello
from tests.proxy.talkers import Application, Echo, Talker

REAL, FRONT = Address.parse("192.0.2.7:56324"), Address.parse("203.0.113.1:443")
LINE = b"PROXY TCP4 192.0.2.7 203.0.113.1 56324 443\r\n"
FORGED = b"PROXY TCP4 198.51.100.66 203.0.113.1 1 443\r\n"
LOCAL = SIGNATURE + b"\x20\0\0\0"
BINARY = b"\0\1\2\3\4"
"""No detector takes it for the start of anything."""


class Case(MeshCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.server = Host(self, SERVER, VOTING_LEAF, clock=self.clock)

    def declare(self, application: Application, network: str = "127.0.0.1") -> Address:
        """Declare where a balancer of the application is; return where clients connect."""
        port = application.address.port
        self.server.parts = replace(self.server.parts, balancers=(Balancer.parse(f"{network}={port}"),))
        return self.server.inbound(port)

    def introduce(self, application: Application) -> None:
        """Have clients introduced to the application."""
        port = application.address.port
        self.server.parts = replace(self.server.parts, introductions=Introductions([PortRange(port, port)]))

    async def client(self) -> Address:
        """Wait for a connection to be shown, and return where it comes from."""
        await self.server.opened()
        return self.server.taps.events[0].flow.src

    async def introduced(self, application: Application, size: int) -> tuple[ProxyHeader, bytes]:
        """Return what the application was told, and what came behind it.

        :param size: of that.
        """
        while not application.connections:
            await self.turn()
        parser = ProxyHeaderParser()
        got = await application.connections[0].has(16)
        got = await application.connections[0].has(16 + int.from_bytes(got[14:16], "big") + size)
        header = parser.receive_data(got)
        assert isinstance(header, ProxyHeader), header
        return header, parser.rest()


class FromBalancerTests(Case):
    async def test_the_client_is_who_the_balancer_says(self) -> None:
        for header in (LINE, encode_v2(REAL, FRONT)):
            application = self.application()
            talker = await self.connect(self.declare(application), Talker(header + BINARY))
            self.assertEqual(await talker.has(5), BINARY)
            self.assertEqual(await self.server.opened(), NoTls(NoTlsReason.NO_TLS_FROM_REMOTE))
            self.assertEqual({event.flow.src for event in self.server.taps.events}, {REAL})
            self.assertEqual(application.got, BINARY)

    async def test_a_header_in_two_pieces(self) -> None:
        application = self.application()
        talker = await self.connect(self.declare(application), Talker(LINE[:20]))
        while not self.clock.getDelayedCalls():
            await self.turn()
        talker.transport.write(LINE[20:])
        talker.transport.write(BINARY)
        self.assertEqual(await talker.has(5), BINARY)
        self.assertEqual((await self.client(), application.got), (REAL, BINARY))

    async def test_a_balancers_own_connection_is_its_own(self) -> None:
        for header in (LOCAL, b"PROXY UNKNOWN\r\n"):
            application = self.application()
            talker = await self.connect(self.declare(application), Talker(header + BINARY))
            self.assertEqual(await talker.has(5), BINARY)
            await self.server.opened()
            own = talker.transport.getHost()
            self.assertEqual(self.server.taps.events[-1].flow.src, Address.of(own.host, own.port))

    async def test_a_connection_without_a_header_is_refused(self) -> None:
        application = self.application()
        talker = await self.connect(self.declare(application), Talker(b"GET / HTTP/1.1\r\n\r\n"))
        self.assertEqual(await talker.lost, "reset")
        self.assertEqual(await self.server.refusal(), ("proxy_header", "no PROXY header"))
        self.assertEqual(self.server.refused(), {("inbound", "proxy_header"): 1})
        self.assertEqual(application.connections, [])

    async def test_a_header_that_ends_amidst_is_a_reset(self) -> None:
        for part in (LINE[:20], encode_v2(REAL, FRONT)[:-1], b"P"):
            application = self.application()
            talker = await self.connect(self.declare(application), Talker(part))
            while not self.clock.getDelayedCalls():
                await self.turn()
            talker.transport.loseWriteConnection()
            self.assertEqual(await talker.lost, "reset")
            self.assertEqual(application.connections, [])
        self.assertEqual(self.server.refused(), {("inbound", "proxy_header"): 3})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_a_probe_that_half_closes_without_a_byte_ends_in_order(self) -> None:
        talker = await self.connect(self.declare(self.application()))
        while not self.clock.getDelayedCalls():
            await self.turn()
        talker.transport.loseWriteConnection()
        self.assertEqual(await talker.lost, "closed")
        self.assertEqual(self.server.refused(), {})

    async def test_silence_instead_of_a_header_is_refused_in_the_end(self) -> None:
        application = self.application(lambda: Talker(b"220 ready"))
        talker = await self.connect(self.declare(application))
        while not self.clock.getDelayedCalls():
            await self.turn()
        self.clock.advance(10)
        self.assertEqual(await talker.lost, "reset")
        self.assertEqual(await self.server.refusal(), ("proxy_header", "no PROXY header within 10 s"))
        self.assertEqual(application.connections, [])

    async def test_a_probe_that_says_nothing_is_a_counter_and_no_line(self) -> None:
        application = self.application()
        talker = await self.connect(self.declare(application))
        talker.transport.loseConnection()
        await talker.lost
        while not self.server.count("meshtx_silent_connections_total", direction="inbound"):
            await self.turn()
        self.assertEqual((application.connections, self.lines, self.clock.getDelayedCalls()), ([], [], []))

    async def test_a_header_from_a_stranger_is_bytes(self) -> None:
        application = self.application()
        talker = await self.connect(self.declare(application, "127.9.9.9"), Talker(FORGED + BINARY))
        self.assertEqual(await talker.has(len(FORGED + BINARY)), FORGED + BINARY)
        self.assertEqual((await self.client()).host, "127.0.0.1")

    async def test_a_header_to_another_port_is_bytes(self) -> None:
        self.declare(self.application())
        other = self.application()
        talker = await self.connect(self.server.inbound(other.address.port), Talker(FORGED + BINARY))
        self.assertEqual(await talker.has(len(FORGED + BINARY)), FORGED + BINARY)
        self.assertEqual((await self.client()).host, "127.0.0.1")

    async def test_a_header_that_a_client_smuggles_behind_the_balancers_is_bytes(self) -> None:
        application = self.application()
        talker = await self.connect(self.declare(application), Talker(LINE + FORGED + BINARY))
        self.assertEqual(await talker.has(len(FORGED + BINARY)), FORGED + BINARY)
        self.assertEqual(await self.client(), REAL)

    async def test_an_opaque_port_gets_what_is_behind_the_header(self) -> None:
        application = self.application()
        self.server.directory.ports[application.address.port] = PortFacts(opaque=True)
        talker = await self.connect(self.declare(application), Talker(LINE + BINARY))
        self.assertEqual(await talker.has(5), BINARY)
        self.assertEqual((await self.client(), application.got), (REAL, BINARY))

    async def test_a_hello_behind_the_header_is_answered(self) -> None:
        application = self.application()
        talker = await self.connect(self.declare(application), Talker(LINE + hello()))
        self.assertEqual((await talker.has(1))[:1], b"\x16")
        self.assertEqual(application.connections, [])

    async def test_a_workload_that_speaks_first_is_heard_behind_the_header(self) -> None:
        application = self.application(lambda: Talker(b"220 ready"))
        talker = await self.connect(self.declare(application), Talker(LINE))
        self.assertEqual(await talker.has(9), b"220 ready")  # no ClientHello is to be expected: no time passes


class ToWorkloadTests(Case):
    async def test_the_workload_is_told_who_connects(self) -> None:
        application = self.application(Talker)
        self.introduce(application)
        talker = await self.connect(self.server.inbound(application.address.port), Talker(FORGED))
        told = await self.introduced(application, len(FORGED))
        own = talker.transport.getHost()
        destination = Address(SERVER, application.address.port)
        self.assertEqual(told, (ProxyHeader(Address.of(own.host, own.port), destination), FORGED))

    async def test_the_workload_is_told_whom_the_balancer_connects_for(self) -> None:
        application = self.application(Talker)
        self.introduce(application)
        said = ((ALPN, b"h2"), (AUTHORITY, b"shop.test"))
        forged = (PEER_IDENTITY, b"spiffe://cluster.local/ns/shop/sa/boss")
        await self.connect(self.declare(application), Talker(encode_v2(REAL, FRONT, [*said, forged]) + BINARY))
        self.assertEqual(await self.introduced(application, 5), (ProxyHeader(REAL, FRONT, said), BINARY))

    async def test_the_workload_is_told_which_name_the_peer_proved(self) -> None:
        client, server = Host(self, SERVER, WEB_LEAF), Host(self, SERVER, VOTING_LEAF)
        application = self.application(Talker)
        self.server = server
        self.introduce(application)
        talker = await self.connect(self.pair(application, client, server), Talker(BINARY))
        own = talker.transport.getHost()
        header = ProxyHeader(
            Address.of(own.host, own.port),
            application.address,
            ((AUTHORITY, b"voting.test:80"), (PEER_IDENTITY, b"spiffe://cluster.local/ns/emojivoto/sa/web")),
        )
        self.assertEqual(await self.introduced(application, 5), (header, BINARY))

    async def test_other_ports_are_told_nothing(self) -> None:
        self.introduce(self.application())
        other = self.application(Echo)
        talker = await self.connect(self.server.inbound(other.address.port), Talker(BINARY))
        self.assertEqual((await talker.has(5), other.got), (BINARY, BINARY))

    async def test_a_workload_that_is_told_is_not_connected_to_before_its_client_speaks(self) -> None:
        application = self.application(lambda: Talker(b"220 ready"))
        self.introduce(application)
        talker = await self.connect(self.server.inbound(application.address.port))
        while not self.clock.getDelayedCalls():
            await self.turn()
        self.assertEqual([each.getTime() for each in self.clock.getDelayedCalls()], [10])
        talker.transport.write(BINARY)
        self.assertEqual(await talker.has(9), b"220 ready")
