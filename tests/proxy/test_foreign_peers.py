"""The other proxy is Linkerd's, or does not keep to what it speaks."""

from __future__ import annotations

import os

from meshtx.directory.target import Target
from meshtx.observe.flow import Mtls
from meshtx.wire.leg_frames import Accept, Data, Open, Refuse, encode
from meshtx.wire.transport_header import TransportHeader, encode_header
from tests.net.certificates import VOTING, WEB
from tests.proxy.mesh import CLIENT, SERVER, VOTING_LEAF, WEB_LEAF, Host, MeshCase
from tests.proxy.peers import LINKERD, dial, serve
from tests.proxy.talkers import Talker

BINARY = b"\0SECRET words"
"""No detector takes it for the start of anything."""


class LinkerdTests(MeshCase):
    """One of the two is a proxy of Linkerd's."""

    async def test_its_client_asks_by_a_header(self) -> None:
        server, app = Host(self, SERVER, VOTING_LEAF), self.application(lambda: Talker(closes=False))
        accepted = app.next()
        said = encode_header(TransportHeader(app.address.port)) + BINARY
        peer = await dial(self, self.between(server.inbound()), WEB_LEAF, alpn=LINKERD, talker=Talker(said))
        await peer.talker.made
        peer.talker.transport.loseWriteConnection()
        asked = await accepted
        await asked.eof
        answer = os.urandom(300_000)
        asked.transport.write(answer)
        asked.transport.loseConnection()
        self.assertEqual((await peer.talker.lost, bytes(peer.talker.got)), ("closed", answer))
        self.assertEqual(app.got, BINARY)
        self.assertEqual(await server.opened(), Mtls(WEB, LINKERD[0]))
        self.assertEqual(server.taps.events[0].flow.dst, app.address)
        await server.live.empty()
        self.assertEqual(server.count("tcp_read_bytes_total"), len(BINARY))
        self.assertNotIn(b"SECRET", self.wire)

    async def test_its_header_comes_byte_by_byte(self) -> None:
        server, app = Host(self, SERVER, VOTING_LEAF), self.application()
        peer = await dial(self, server.inbound(), WEB_LEAF, alpn=LINKERD)
        await peer.talker.made
        for byte in encode_header(TransportHeader(app.address.port)) + BINARY:
            peer.talker.transport.write(bytes([byte]))
            await self.turn()
        self.assertEqual(await peer.talker.has(len(BINARY)), BINARY)

    async def test_its_server_is_told_by_a_header(self) -> None:
        client, talker = Host(self, CLIENT, WEB_LEAF), Talker(b"answer", closes=False)
        via = serve(self, SERVER, VOTING_LEAF, LINKERD, [talker])
        destination = self.nobody()
        client.meshed(destination, VOTING, self.between(via))
        app = await self.connect(client.outbound(destination), Talker(BINARY))
        header = encode_header(TransportHeader(destination.port))
        self.assertEqual(await talker.has(len(header + BINARY)), header + BINARY)
        app.transport.loseWriteConnection()
        await talker.eof
        talker.transport.write(b", the rest")
        talker.transport.loseConnection()
        self.assertEqual((await app.lost, bytes(app.got)), ("closed", b"answer, the rest"))
        self.assertEqual(await client.opened(), Mtls(VOTING, LINKERD[0]))
        self.assertNotIn(b"SECRET", self.wire)

    async def test_a_peer_that_speaks_neither(self) -> None:
        client = Host(self, CLIENT, WEB_LEAF)
        via, destination = serve(self, SERVER, VOTING_LEAF, [], [Talker()]), self.nobody()
        client.meshed(destination, VOTING, via)
        app = await self.connect(client.outbound(destination), Talker(BINARY))
        self.assertEqual(await app.lost, "reset")
        reason, detail = await client.refusal()
        self.assertEqual(reason, "no_application_protocol")
        self.assertIn(f"{via} takes neither of", detail)


class NextReleaseTests(MeshCase):
    """The other proxy speaks a protocol that comes after ours, and ours (docs/upgrades.md)."""

    PROTOCOLS = ("meshtx/2", "meshtx/1", *LINKERD)

    async def test_its_client_is_served_by_ours(self) -> None:
        server, app = Host(self, SERVER, VOTING_LEAF), self.application()
        said = encode(Open(app.address.port)) + encode(Data(BINARY))
        peer = await dial(self, server.inbound(), WEB_LEAF, alpn=self.PROTOCOLS, talker=Talker(said))
        answer = encode(Accept()) + encode(Data(BINARY))
        self.assertEqual(await peer.talker.has(len(answer)), answer)
        self.assertEqual(await server.opened(), Mtls(WEB, "meshtx/1"))

    async def test_its_server_is_asked_by_ours(self) -> None:
        client, talker = Host(self, CLIENT, WEB_LEAF), Talker(encode(Accept()))
        via, destination = serve(self, SERVER, VOTING_LEAF, self.PROTOCOLS, [talker]), self.nobody()
        client.meshed(destination, VOTING, via)
        app = await self.connect(client.outbound(destination), Talker(BINARY))
        self.assertEqual(await client.opened(), Mtls(VOTING, "meshtx/1"))
        app.transport.abortConnection()
        await talker.lost

    async def test_a_server_that_has_ours_no_more_is_refused(self) -> None:
        client = Host(self, CLIENT, WEB_LEAF)
        via, destination = serve(self, SERVER, VOTING_LEAF, self.PROTOCOLS[:1], [Talker()]), self.nobody()
        client.meshed(destination, VOTING, via)
        app = await self.connect(client.outbound(destination), Talker(BINARY))
        self.assertEqual((await app.lost, (await client.refusal())[0]), ("reset", "no_application_protocol"))


class BrokenPeerTests(MeshCase):
    """The peer's proxy is authentic, and does not keep to the leg's protocol."""

    async def check(self, said: bytes, reason: str) -> None:
        client = Host(self, CLIENT, WEB_LEAF)
        via, destination = serve(self, SERVER, VOTING_LEAF, ["meshtx/1"], [Talker(said)]), self.nobody()
        client.meshed(destination, VOTING, via)
        app = await self.connect(client.outbound(destination), Talker(BINARY))
        self.assertEqual(await app.lost, "reset")
        self.assertEqual((await client.refusal())[0], reason)
        await client.live.empty()

    async def test_garbage(self) -> None:
        await self.check(b"HTTP/1.1 400 Bad Request\r\n\r\n", "protocol_error")

    async def test_an_answer_twice(self) -> None:
        await self.check(encode(Accept()) * 2, "protocol_error")

    async def test_a_refusal(self) -> None:
        await self.check(encode(Refuse("no_rule")), "refused_by_peer")

    async def test_a_defect_of_ours_behind_the_handshake_is_no_wait_for_ever(self) -> None:
        client = Host(self, CLIENT, WEB_LEAF)
        via, destination = serve(self, SERVER, VOTING_LEAF, ["meshtx/1"], [Talker()]), self.nobody()
        client.meshed(destination, VOTING, via)
        target = client.directory.targets[destination]
        client.directory.targets[destination] = Target(destination, "a" * 1000, target.security)  # OPEN takes 320
        app = await self.connect(client.outbound(destination), Talker(BINARY))
        self.assertEqual(await app.lost, "reset")
        self.assertEqual((await client.refusal())[0], "internal")
        self.assertEqual(len(self.flushLoggedErrors()), 2)
