"""Two proxies and what passes between them: whole, in both directions, to its very end."""

from __future__ import annotations

import os
import weakref

from twisted.internet.defer import Deferred, gatherResults

from meshtx.observe.flow import Mtls
from meshtx.proxy.ends import End, Live
from meshtx.wire.leg_frames import Open, Refuse, Retire, encode
from tests.garbage import hold_collector, living
from tests.net.certificates import VOTING, WEB, make_leaf
from tests.proxy.mesh import CA, CLIENT, SERVER, VOTING_LEAF, WEB_LEAF, Host, MeshCase
from tests.proxy.peers import dial
from tests.proxy.talkers import Talker

BINARY = b"\0SECRET words"
"""No detector takes it for the start of anything."""
REQUEST = b"GET /SECRET HTTP/1.1\r\nHost: SECRET\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nSECRET"
MIB = 2**20


class LegTests(MeshCase):
    """Both proxies are ours."""

    def setUp(self) -> None:
        super().setUp()
        self.client, self.server = Host(self, CLIENT, WEB_LEAF), Host(self, SERVER, VOTING_LEAF)

    async def over(self) -> None:
        """Wait until both proxies are done."""
        await gatherResults([self.client.live.empty(), self.server.live.empty()])

    async def test_an_echo_is_seen_and_counted_on_both_sides_and_nowhere_between(self) -> None:
        app = self.application()
        talker = await self.connect(self.pair(app, self.client, self.server))
        talker.transport.write(BINARY)
        self.assertEqual(await talker.has(len(BINARY)), BINARY)
        talker.transport.loseWriteConnection()
        self.assertEqual((await talker.lost, app.got), ("closed", BINARY))
        await self.over()
        self.assertNotIn(b"SECRET", self.wire)
        self.assertGreater(len(self.wire), 2000)
        self.assertEqual(await self.client.opened(), Mtls(VOTING, "meshtx/1"))
        self.assertEqual(await self.server.opened(), Mtls(WEB, "meshtx/1"))
        for host, direction in ((self.client, "outbound"), (self.server, "inbound")):
            self.assertEqual(host.count("tcp_open_total", tls="true", direction=direction), 1)
            self.assertEqual(host.count("tcp_close_total", tls="true", direction=direction, errno=""), 1)
            self.assertEqual(host.count("tcp_read_bytes_total", tls="true"), len(BINARY))
            self.assertEqual(host.count("tcp_write_bytes_total", tls="true"), len(BINARY))
            self.assertEqual(host.count("meshtx_handshake_duration_seconds_count", direction=direction), 1)
            end = await host.ended()
            self.assertEqual((end.error, end.sent, end.received), (None, len(BINARY), len(BINARY)))
        self.assertEqual([line for line in self.lines if "refused" in line], [])

    async def test_a_request_is_seen_on_both_sides(self) -> None:
        app = self.application(lambda: Talker(ANSWER))
        talker = await self.connect(self.pair(app, self.client, self.server), Talker(REQUEST))
        self.assertEqual(await talker.has(len(ANSWER)), ANSWER)
        talker.transport.loseConnection()
        await self.over()
        for host in (self.client, self.server):
            self.assertEqual(host.count("request_total", tls="true"), 1)
            self.assertEqual(host.count("response_total", tls="true", status_code="200"), 1)
        self.assertNotIn(b"SECRET", self.wire)

    async def test_requests_to_an_opaque_port_are_not_looked_at(self) -> None:
        app = self.application(lambda: Talker(ANSWER))
        address = self.pair(app, self.client, self.server)
        via = self.client.directory.targets[app.address].security.via
        self.client.meshed(app.address, VOTING, via, opaque=True)
        talker = await self.connect(address, Talker(REQUEST))
        self.assertEqual(await talker.has(len(ANSWER)), ANSWER)
        self.assertEqual(await self.client.opened(), Mtls(VOTING, "meshtx/1"))
        self.assertEqual(self.client.count("request_total"), 0)

    async def test_a_server_that_speaks_first(self) -> None:
        app = self.application(lambda: Talker(b"220 ready"))
        talker = await self.connect(self.pair(app, self.client, self.server))
        self.assertEqual(await talker.has(9), b"220 ready")

    async def test_a_half_closed_exchange_gets_its_whole_answer(self) -> None:
        app = self.application(lambda: Talker(closes=False))
        accepted = app.next()
        talker = await self.connect(self.pair(app, self.client, self.server), Talker(BINARY))
        talker.transport.loseWriteConnection()
        asked = await accepted
        await asked.eof
        answer = os.urandom(MIB)
        asked.transport.write(answer)
        asked.transport.loseConnection()
        self.assertEqual((await talker.lost, bytes(talker.got), app.got), ("closed", answer, BINARY))
        await self.over()

    async def test_two_megabytes_each_way_at_once(self) -> None:
        there, back = os.urandom(2 * MIB), os.urandom(2 * MIB)
        app = self.application(lambda: Talker(back))
        accepted = app.next()
        talker = await self.connect(self.pair(app, self.client, self.server), Talker(there))
        got = await gatherResults([(await accepted).has(2 * MIB), talker.has(2 * MIB)])
        self.assertEqual([got[0] == there, got[1] == back], [True, True])

    async def test_a_reset_by_the_server_is_a_reset(self) -> None:
        app = self.application()
        accepted = app.next()
        talker = await self.connect(self.pair(app, self.client, self.server), Talker(BINARY))
        await talker.has(len(BINARY))
        (await accepted).transport.abortConnection()
        self.assertEqual(await talker.lost, "reset")
        await self.over()
        for host in (self.client, self.server):
            self.assertEqual((await host.ended()).error, "reset")
            self.assertEqual(host.refused(), {})

    async def test_a_reset_by_the_client_is_a_reset(self) -> None:
        app = self.application()
        accepted = app.next()
        talker = await self.connect(self.pair(app, self.client, self.server), Talker(BINARY))
        await talker.has(len(BINARY))
        talker.transport.abortConnection()
        self.assertEqual(await (await accepted).lost, "reset")
        await self.over()

    async def test_a_wire_that_is_cut_is_a_reset_on_both_sides_and_no_refusal(self) -> None:
        app = self.application()
        accepted = app.next()
        talker = await self.connect(self.pair(app, self.client, self.server), Talker(BINARY))
        await talker.has(len(BINARY))
        self.cut()
        self.assertEqual([await talker.lost, await (await accepted).lost], ["reset", "reset"])
        await self.over()
        self.assertEqual([self.client.refused(), self.server.refused()], [{}, {}])

    async def test_a_peer_that_ends_tls_without_a_word_is_truncation_and_no_refusal(self) -> None:
        app = self.application()
        accepted = app.next()
        talker = await self.connect(self.pair(app, self.client, self.server), Talker(BINARY))
        await talker.has(len(BINARY))
        self.cut(orderly=True)
        self.assertEqual([await talker.lost, await (await accepted).lost], ["reset", "reset"])
        await self.over()
        self.assertEqual([self.client.refused(), self.server.refused()], [{}, {}])
        self.assertEqual((await self.client.ended()).error, "truncated")

    async def test_a_connection_lives_on_with_its_credentials_and_the_next_has_the_new_ones(self) -> None:
        app = self.application()
        address = self.pair(app, self.client, self.server)
        old = await self.connect(address, Talker(BINARY))
        await old.has(len(BINARY))
        renamed = make_leaf(CA, WEB.scope.name("emojivoto", "web2"))
        self.client.source.replace(renamed)
        self.server.source.replace(make_leaf(CA, VOTING))
        new = await self.connect(address, Talker(BINARY))
        await new.has(len(BINARY))
        old.transport.write(b"more")
        self.assertEqual(await old.has(len(BINARY) + 4), BINARY + b"more")
        self.assertEqual(
            [event.flow.security.peer for event in self.server.taps.events],  # type: ignore[union-attr]
            [WEB, renamed.name],
        )

    async def test_credentials_that_have_gone_refuse_the_next_connection_alone(self) -> None:
        app = self.application()
        address = self.pair(app, self.client, self.server)
        old = await self.connect(address, Talker(BINARY))
        await old.has(len(BINARY))
        self.client.source.replace(None)
        self.assertEqual(await (await self.connect(address, Talker(BINARY))).lost, "reset")
        old.transport.write(b"more")
        self.assertEqual(await old.has(len(BINARY) + 4), BINARY + b"more")

    async def test_finished_connections_leave_memory_without_the_collector(self) -> None:
        app = self.application()
        address = self.pair(app, self.client, self.server)
        hold_collector(self)
        others = living(End)
        talker = await self.connect(address, Talker(BINARY))
        await talker.has(len(BINARY))
        ends = [*map(weakref.ref, living(End, others).values())]
        self.assertEqual(len(ends), 4)
        talker.transport.loseConnection()
        await self.over()
        await self.turn()
        self.assertEqual([each() for each in ends if each() is not None], [])


class StopTests(MeshCase):
    """A connection is ended by the proxy's own end, wherever it is on its way."""

    def setUp(self) -> None:
        super().setUp()
        self.client, self.server = Host(self, CLIENT, WEB_LEAF), Host(self, SERVER, VOTING_LEAF)

    async def stopped(self, host: Host) -> None:
        self.assertEqual(len(host.live), 1)
        host.live.abort()
        reason, detail = await host.refusal()
        self.assertEqual((reason, detail, len(host.live)), ("stopping", "the proxy stops", 0))

    async def test_while_the_directory_is_asked(self) -> None:
        self.client.directory.silent = True
        talker = await self.connect(self.client.outbound(self.nobody()), Talker(BINARY))
        asked = await self.client.directory.asked
        await self.stopped(self.client)
        self.assertEqual(await talker.lost, "reset")
        self.assertTrue(asked.called)

    async def test_while_the_peer_is_asked_for_its_handshake(self) -> None:
        silent = self.application(Talker)
        accepted = silent.next()
        self.client.meshed(silent.address, VOTING, silent.address)
        talker = await self.connect(self.client.outbound(silent.address), Talker(BINARY))
        peer = await accepted
        await peer.has(100)
        await self.stopped(self.client)
        self.assertEqual([await talker.lost, await peer.lost], ["reset", "reset"])

    async def test_while_it_is_relayed(self) -> None:
        app = self.application()
        accepted = app.next()
        talker = await self.connect(self.pair(app, self.client, self.server), Talker(BINARY))
        await talker.has(len(BINARY))
        self.server.live.abort()
        self.assertEqual([await talker.lost, await (await accepted).lost], ["reset", "reset"])
        self.assertEqual((await self.server.ended()).error, "reset")
        self.assertEqual(self.server.refused(), {})

    async def test_before_the_first_bytes(self) -> None:
        talker = await self.connect(self.server.inbound(80))
        while not self.server.live:
            await self.turn()
        await self.stopped(self.server)
        self.assertEqual(await talker.lost, "reset")

    async def test_in_the_handshake(self) -> None:
        silent = await self.connect(self.server.inbound(), Talker(b"\x16\x03\x01"))
        await self.held()
        await self.stopped(self.server)
        self.assertEqual(await silent.lost, "reset")

    async def test_on_a_leg_that_has_asked_for_nothing(self) -> None:
        peer = await dial(self, self.server.inbound(), WEB_LEAF)
        while self.server.count("meshtx_handshake_duration_seconds_count") != 1:
            await self.turn()
        legs = Live()
        self.server.parts.served.stop(legs)
        self.assertEqual(await peer.talker.has(1), encode(Retire()))
        self.assertEqual((len(self.server.live), len(legs)), (0, 1))
        legs.abort()
        self.assertEqual(await peer.talker.lost, "reset")
        await legs.empty()

    async def test_while_the_workload_is_dialled(self) -> None:
        dialled: Deferred[None] = Deferred()
        self.server.parts.dialler.dial = lambda _address, _protocol: dialled  # type: ignore[method-assign]
        peer = await dial(self, self.server.inbound(), WEB_LEAF)
        peer.talker.made.addCallback(lambda _: peer.talker.transport.write(encode(Open(80))))
        while not self.server.live or not dialled.callbacks:
            await self.turn()
        await self.stopped(self.server)
        self.assertEqual(await peer.talker.has(1), encode(Refuse("stopping")))
        self.assertTrue(dialled.called)
