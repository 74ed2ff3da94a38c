"""Two proxies and what passes between them."""

from __future__ import annotations

from meshtx.observe.flow import Mtls
from tests.net.certificates import VOTING, WEB
from tests.proxy.mesh import CLIENT, SERVER, VOTING_LEAF, WEB_LEAF, Host, MeshCase


class MeshTests(MeshCase):
    async def test_an_echo_passes_over_a_leg(self) -> None:
        client, server = Host(self, CLIENT, WEB_LEAF), Host(self, SERVER, VOTING_LEAF)
        app = self.application()
        talker = await self.connect(self.pair(app, client, server))
        talker.transport.write(b"SECRET words")
        self.assertEqual(await talker.has(12), b"SECRET words")
        talker.transport.loseWriteConnection()
        self.assertEqual(await talker.lost, "closed")
        self.assertEqual(app.got, b"SECRET words")
        await client.live.empty()
        await server.live.empty()
        self.assertNotIn(b"SECRET", self.wire)
        self.assertGreater(len(self.wire), 2000)
        self.assertEqual(await client.opened(), Mtls(VOTING, "meshtx/1"))
        self.assertEqual(await server.opened(), Mtls(WEB, "meshtx/1"))
        for host, direction in ((client, "outbound"), (server, "inbound")):
            self.assertEqual(host.count("tcp_open_total", tls="true", direction=direction), 1)
            self.assertEqual(host.count("tcp_read_bytes_total", tls="true"), 12)
            self.assertEqual(host.count("tcp_write_bytes_total", tls="true"), 12)
            self.assertEqual(host.count("meshtx_handshake_duration_seconds_count", direction=direction), 1)
