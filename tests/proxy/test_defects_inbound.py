"""Bar: a directory that fails over a port of the workload, as one of a user's may, however the port is asked for."""

from __future__ import annotations

from dataclasses import replace

from meshtx.directory.target import PortFacts
from meshtx.proxy.balancers import Balancer
from meshtx.wire.address import Address
from meshtx.wire.transport_header import TransportHeader, encode_header
from tests.proxy.mesh import CLIENT, SERVER, VOTING_LEAF, WEB_LEAF, Facts, Host, MeshCase
from tests.proxy.peers import LINKERD, dial
from tests.proxy.talkers import Talker


class Failing(Facts):
    def own_port(self, address: Address) -> PortFacts:
        raise ZeroDivisionError


class OwnPortTests(MeshCase):
    def setUp(self) -> None:
        super().setUp()
        self.server = Host(self, SERVER, VOTING_LEAF)
        self.server.parts = replace(self.server.parts, directory=Failing())
        self.app = self.application()

    async def check(self) -> None:
        """Nothing reached the application, and the refusal is counted and logged."""
        self.assertEqual((await self.server.refusal())[0], "internal")
        self.assertEqual(self.server.refused(), {("inbound", "internal"): 1})
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.app.connections, [])
        await self.server.live.empty()

    async def test_by_a_redirect(self) -> None:
        talker = await self.connect(self.server.inbound(self.app.address.port))
        self.assertEqual(await talker.lost, "reset")
        await self.check()

    async def test_by_a_redirect_behind_a_proxy_header(self) -> None:
        port = self.app.address.port
        self.server.parts = replace(self.server.parts, balancers=(Balancer.parse(f"127.0.0.1={port}"),))
        line = b"PROXY TCP4 192.0.2.7 203.0.113.1 56324 443\r\n"
        talker = await self.connect(self.server.inbound(port), Talker(line))
        self.assertEqual(await talker.lost, "reset")
        await self.check()

    async def test_by_a_transport_header(self) -> None:
        said = encode_header(TransportHeader(self.app.address.port))
        await dial(self, self.server.inbound(), WEB_LEAF, alpn=LINKERD, talker=Talker(said))
        await self.check()

    async def test_on_a_leg(self) -> None:
        client = Host(self, CLIENT, WEB_LEAF)
        talker = await self.connect(self.pair(self.app, client, self.server), Talker(b"\0"))
        self.assertEqual(await talker.lost, "reset")
        self.assertEqual(await client.refusal(), ("refused_by_peer", "internal"))
        await self.check()
