"""What goes out in plaintext, and why."""

from __future__ import annotations

from twisted.internet.task import Clock

from meshtx.directory.target import Target
from meshtx.observe.flow import NoTls, NoTlsReason
from meshtx.observe.tap import FlowRefused
from tests.proxy.mesh import CLIENT, WEB_LEAF, Host, MeshCase
from tests.proxy.talkers import Application, Echo, Talker

BINARY = b"\0SECRET words"
"""No detector takes it for the start of anything."""


class UnmeshedTests(MeshCase):
    async def check(self, client: Host, application: Application, reason: NoTlsReason) -> None:
        talker = await self.connect(client.outbound(application.address), Talker(BINARY))
        self.assertEqual(await talker.has(len(BINARY)), BINARY)
        self.assertEqual(await client.opened(), NoTls(reason))
        self.assertEqual(client.count("tcp_open_total", tls="no_identity", no_tls_reason=reason.value), 1)

    async def test_a_destination_that_is_not_meshed(self) -> None:
        await self.check(Host(self, CLIENT, WEB_LEAF), self.application(), NoTlsReason.NOT_DISCOVERED)

    async def test_a_destination_that_is_not_meshed_needs_no_credentials(self) -> None:
        await self.check(Host(self, CLIENT, None), self.application(), NoTlsReason.NOT_DISCOVERED)

    async def test_the_workload_itself(self) -> None:
        await self.check(Host(self, CLIENT, WEB_LEAF), self.application(ip=CLIENT), NoTlsReason.LOOPBACK)

    async def test_a_port_that_is_skipped(self) -> None:
        client, application = Host(self, CLIENT, WEB_LEAF), self.application()
        skipped = Target(application.address, "", NoTls(NoTlsReason.PORT_SKIPPED))
        client.directory.targets[application.address] = skipped
        await self.check(client, application, NoTlsReason.PORT_SKIPPED)

    async def test_a_server_that_speaks_first(self) -> None:
        application = self.application(lambda: Talker(b"220 ready"))
        client = Host(self, CLIENT, WEB_LEAF, clock=Clock())
        talker = await self.connect(client.outbound(application.address))
        self.assertEqual(await talker.has(9), b"220 ready")

    async def test_a_plaintext_connection_that_fails_is_refused(self) -> None:
        client, nobody = Host(self, CLIENT, WEB_LEAF), self.nobody()
        talker = await self.connect(client.outbound(nobody), Talker(BINARY))
        self.assertEqual(await talker.lost, "reset")
        event = await client.taps.saw(lambda event: isinstance(event.what, FlowRefused))
        self.assertEqual(event.flow.dst, nobody)

    async def test_half_closed(self) -> None:
        application = self.application(Echo)
        talker = await self.connect(Host(self, CLIENT, WEB_LEAF).outbound(application.address), Talker(BINARY))
        talker.transport.loseWriteConnection()
        self.assertEqual((await talker.lost, bytes(talker.got)), ("closed", BINARY))
