"""Connections between two proxies over legs that last: who pays a handshake, and what becomes of them."""

from __future__ import annotations

import os
from dataclasses import replace

from twisted.internet.task import Clock

from meshtx.net.leg_pool import IDLE
from meshtx.observe.flow import Mtls
from meshtx.observe.tap import FlowEnd, TapEvent
from meshtx.wire.address import Address
from meshtx.wire.leg_frames import Open, Refuse, encode
from tests.net.certificates import DAY, VOTING, WEB, make_leaf, now
from tests.proxy.mesh import CA, CLIENT, PATIENCE, SERVER, VOTING_LEAF, WEB_LEAF, Host, MeshCase
from tests.proxy.peers import dial
from tests.proxy.talkers import Talker

BINARY = b"\0SECRET words"
"""No detector takes it for the start of anything."""


class LegsCase(MeshCase):
    def setUp(self) -> None:
        super().setUp()
        self.client, self.server = Host(self, CLIENT, WEB_LEAF), Host(self, SERVER, VOTING_LEAF)
        self.app = self.application()
        self.address = self.pair(self.app, self.client, self.server)

    def handshakes(self, host: Host | None = None) -> float:
        return (host or self.client).count("meshtx_handshake_duration_seconds_count")

    async def begin(self, address: Address | None = None, said: bytes = BINARY) -> Talker:
        talker = await self.connect(address or self.address, Talker(said))
        self.assertEqual(await talker.has(len(said)), said)
        return talker

    async def finish(self, *talkers: Talker) -> None:
        """End them in order, and wait until their legs are idle."""
        for talker in talkers:
            talker.transport.loseConnection()
            await talker.lost
        await self.client.live.empty()
        await self.server.live.empty()

    async def ends(self, host: Host, number: int) -> list[TapEvent]:
        """Wait until its tap has shown that many ends."""
        while True:
            ends = [event for event in host.taps.events if isinstance(event.what, FlowEnd)]
            if len(ends) == number:
                return ends
            await self.turn()

    async def idle(self, number: int) -> None:
        """Wait until so many legs are."""
        for host in (self.client, self.server):
            while host.count("meshtx_legs_idle") != number:
                await self.turn()


class ReuseTests(LegsCase):
    async def test_one_connection_after_another_pays_one_handshake(self) -> None:
        for said in (BINARY, b"\1", os.urandom(300_000), BINARY):
            await self.finish(await self.begin(said=said))
            await self.idle(1)
        self.assertEqual([self.handshakes(host) for host in (self.client, self.server)], [1, 1])
        for host, peer in ((self.client, VOTING), (self.server, WEB)):
            self.assertEqual(host.count("meshtx_legs_opened_total"), 1)
            self.assertEqual(host.count("meshtx_legs_reused_total"), 3)
            self.assertEqual(host.count("tcp_open_total", tls="true"), 4)
            self.assertEqual(host.count("tcp_close_total", tls="true", errno=""), 4)
            ends = await self.ends(host, 4)
            self.assertEqual([event.flow.security for event in ends], [Mtls(peer, "meshtx/1")] * 4)
            self.assertEqual(len({event.flow.id for event in ends}), 4)

    async def test_each_connection_shows_its_own_client(self) -> None:
        own = []
        for _ in range(2):
            talker = await self.begin()
            own.append(Address.of(*talker.transport.socket.getsockname()))
            await self.finish(talker)
        self.assertEqual([event.flow.src for event in await self.ends(self.client, 2)], own)

    async def test_at_once_there_are_as_many_legs_as_connections(self) -> None:
        await self.finish(*[await self.begin() for _ in range(3)])
        await self.idle(3)
        await self.finish(*[await self.begin() for _ in range(3)])
        self.assertEqual(self.handshakes(), 3)

    async def test_to_another_name_at_the_same_address_there_is_another_handshake(self) -> None:
        await self.finish(await self.begin())
        [via] = [target.security.via for target in self.client.directory.targets.values()]  # type: ignore[union-attr]
        self.client.meshed(self.app.address, WEB, via)
        talker = await self.connect(self.address, Talker(BINARY))
        self.assertEqual(await talker.lost, "reset")
        self.assertEqual((await self.client.refusal())[0], "name_mismatch")

    async def test_a_refused_connection_takes_its_leg_with_it_and_no_other(self) -> None:
        nobody = self.nobody()
        [target] = self.client.directory.targets.values()
        self.client.directory.targets[nobody] = replace(target, address=nobody)
        await self.finish(await self.begin())
        refused = await self.connect(self.client.outbound(nobody), Talker(BINARY))
        self.assertEqual(await refused.lost, "reset")
        self.assertEqual((await self.client.refusal())[0], "refused_by_peer")
        self.assertEqual(self.client.count("meshtx_legs_replayed_total"), 0)
        await self.finish(await self.begin())
        self.assertEqual(self.handshakes(), 2)

    async def test_a_request_over_the_second_connection_is_seen(self) -> None:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        app = self.application(lambda: Talker(answer))
        address = self.pair(app, self.client, self.server)
        for _ in range(2):
            talker = await self.connect(address, Talker(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
            await talker.has(len(answer))
            await self.finish(talker)
        for host in (self.client, self.server):
            self.assertEqual(host.count("request_total", tls="true"), 2)
            self.assertEqual(host.count("response_total", status_code="200"), 2)

    async def test_a_spare_leg_is_there_for_the_second_connection(self) -> None:
        client = Host(self, CLIENT, WEB_LEAF, patience=replace(PATIENCE, settle=0))
        address = self.pair(self.app, client, self.server)
        first = await self.begin(address)
        while client.count("meshtx_legs_idle") != 1:
            await self.turn()
        shaken = self.handshakes(client)
        second = await self.begin(address)
        self.assertEqual((shaken, client.count("meshtx_legs_reused_total")), (2, 0))
        for talker in (first, second):
            talker.transport.loseConnection()
            await talker.lost


class EndTests(LegsCase):
    async def test_new_credentials_of_the_client_mean_a_new_handshake(self) -> None:
        await self.finish(await self.begin())
        await self.idle(1)
        self.client.source.replace(make_leaf(CA, WEB))
        await self.idle(0)
        await self.finish(await self.begin())
        self.assertEqual(self.handshakes(), 2)
        self.assertEqual(self.client.count("meshtx_legs_retired_total", reason="credentials"), 1)
        self.assertEqual(self.client.count("meshtx_legs_replayed_total"), 0)

    async def test_new_credentials_of_the_server_too(self) -> None:
        await self.finish(await self.begin())
        busy = await self.begin()
        self.server.source.replace(make_leaf(CA, VOTING))
        busy.transport.write(b"goes on")
        await busy.has(len(BINARY) + 7)
        await self.finish(busy)
        await self.idle(0)
        await self.finish(await self.begin())
        self.assertEqual(self.handshakes(), 2)
        self.assertEqual(self.client.count("meshtx_legs_retired_total", reason="peer"), 1)
        self.assertEqual(self.server.count("meshtx_legs_retired_total", reason="credentials"), 1)

    async def test_a_leg_that_is_closed_as_it_is_taken_loses_no_connection(self) -> None:
        await self.finish(await self.begin())
        await self.idle(1)
        [leg] = self.server.parts.served.legs
        leg.below.loseConnection()  # as after its patience; the client has not heard of it
        half = await self.connect(self.address, Talker(BINARY))
        half.transport.loseWriteConnection()
        self.assertEqual((await half.lost, bytes(half.got)), ("closed", BINARY))
        await self.finish()
        self.assertEqual(self.client.count("meshtx_legs_replayed_total"), 1)
        self.assertEqual([bytes(each.got) for each in self.app.connections], [BINARY, BINARY])
        self.assertEqual(self.handshakes(), 2)

    async def test_a_peer_that_vanishes_in_mid_stream_is_a_reset_and_nothing_is_repeated(self) -> None:
        await self.finish(await self.begin())
        talker = await self.begin()
        self.cut()
        self.assertEqual(await talker.lost, "reset")
        self.assertEqual(len(self.app.connections), 2)
        self.assertEqual(self.client.count("meshtx_legs_replayed_total"), 0)

    async def test_a_dead_leg_and_nobody_there_any_more_is_a_refusal_and_no_plaintext(self) -> None:
        await self.finish(await self.begin())
        await self.idle(1)
        [leg] = self.server.parts.served.legs
        dialled = self.client.parts.dialler.dial
        nobody = self.nobody()
        self.client.parts.dialler.dial = lambda _address, protocol: dialled(nobody, protocol)  # type: ignore[method-assign]
        leg.below.abortConnection()
        talker = await self.connect(self.address)
        self.assertEqual(await talker.lost, "reset")
        self.assertEqual((await self.client.refusal())[0], "connect_failed")
        self.assertEqual(len(self.app.connections), 1)
        self.assertNotIn(b"SECRET", self.wire)

    async def test_a_leg_is_closed_after_its_time_without_use(self) -> None:
        clock = Clock()
        client = Host(self, CLIENT, WEB_LEAF)
        client.parts.peers._pool._clock = clock  # type: ignore[assignment]
        address = self.pair(self.app, client, self.server)
        await self.finish(await self.begin(address))
        while client.count("meshtx_legs_idle") != 1:
            await self.turn()
        clock.advance(IDLE)
        while not all(host.count("meshtx_legs_retired_total") for host in (client, self.server)):
            await self.turn()
        self.assertEqual(client.count("meshtx_legs_retired_total", reason="idle"), 1)
        self.assertEqual(self.server.count("meshtx_legs_retired_total", reason="peer"), 1)


class PolicyTests(LegsCase):
    """Who may come is asked at every OPEN."""

    async def test_a_peer_whose_certificate_has_expired_meanwhile_is_refused(self) -> None:
        clock = Clock()
        clock.advance(now().timestamp())
        server = Host(self, SERVER, VOTING_LEAF, clock=clock)
        leaf = make_leaf(CA, WEB, not_after=now() + DAY / 1440)
        peer = await dial(self, server.inbound(), leaf)
        await peer.talker.made
        while not server.count("meshtx_legs_idle"):
            await self.turn()
        clock.advance(61)
        peer.talker.transport.write(encode(Open(self.app.address.port)))
        refuse = encode(Refuse("certificate_expired"))
        self.assertEqual(await peer.talker.has(len(refuse)), refuse)
        self.assertEqual((await server.refusal())[0], "certificate_expired")
