"""The workload is dialled before its client has said anything: who speaks first is heard first, and decides."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from meshtx.net.contexts import Contexts
from meshtx.net.tls import Session
from meshtx.observe.flow import Mtls, NoTls, NoTlsReason
from meshtx.proxy.arrival import Arrival
from meshtx.proxy.early import EarlyDial, EarlyEnd
from meshtx.proxy.goal import Goal
from meshtx.proxy.inbound import Inbound
from meshtx.proxy.policy import Mode, Policy
from meshtx.proxy.speakers import GRACE, Speaker
from meshtx.proxy.workload import Workload
from meshtx.wire.address import Address
from tests.garbage import hold_collector, living
from tests.net.certificates import VOTING, WEB
from tests.proxy.mesh import CA, CLIENT, EVERYBODY, SERVER, VOTING_LEAF, WEB_LEAF, Host, MeshCase
from tests.proxy.peers import Peer, dial, hello
from tests.proxy.talkers import Application, Echo, Talker

BANNER = b"220 ready\r\n"
REQUEST = b"GET /api HTTP/1.1\r\nHost: a\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class EarlyCase(MeshCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()

    def host(self, policy: Policy = EVERYBODY, **bounds: Any) -> Host:
        return Host(self, SERVER, VOTING_LEAF, policy=policy, clock=self.clock, **bounds)

    async def silent(self, server: Host, address: Address, talker: Talker | None = None) -> Talker:
        """Connect without a word; return once the proxy has accepted."""
        before = len(server.live)
        talker = await self.connect(address, talker)
        while len(server.live) == before:
            await self.turn()
        return talker

    async def dialled(self, server: Host, application: Application, after: float = GRACE) -> tuple[Talker, Talker]:
        """Return a silent client and the workload's end of the connection that was made for it."""
        accepted: Deferred[Talker] = application.next()
        talker = await self.silent(server, server.inbound(application.address.port))
        self.clock.advance(after)
        return talker, await accepted

    async def results(self, server: Host, **expected: float) -> None:
        """Wait for what has become of the early dials; no place is taken any more."""
        while server.parts.early.open:
            await self.turn()
        names = ("server_spoke", "used", "unused", "failed", "limit")
        told = {name: server.count("meshtx_early_dials_total", result=name) for name in names}
        self.assertEqual({name: count for name, count in told.items() if count}, expected)


class ServerFirstTests(EarlyCase):
    async def test_a_server_that_speaks_first_is_heard_on_a_port_in_no_list(self) -> None:
        server, application = self.host(), self.application(lambda: Talker(BANNER))
        address = server.inbound(application.address.port)
        talker = await self.silent(server, address)
        self.clock.advance(GRACE - 0.001)
        self.assertEqual((server.parts.early.open, application.connections), (0, []))
        self.clock.advance(0.001)
        self.assertEqual(await talker.has(len(BANNER)), BANNER)
        self.assertEqual(server.parts.early.speakers.of(application.address.port), Speaker.SERVER_FIRST)
        again = await self.connect(address)  # from now on it is dialled at once: no time passes
        self.assertEqual(await again.has(len(BANNER)), BANNER)
        again.transport.write(b"QUIT\r\n")
        await application.connections[1].has(6)
        self.assertEqual(await server.opened(), NoTls(NoTlsReason.NO_TLS_FROM_REMOTE))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        await self.results(server, server_spoke=2)

    async def test_a_client_that_half_closes_without_a_word_where_nothing_is_known_is_gone_at_once(self) -> None:
        """Before the workload is dialled, and behind that: a stranger keeps no descriptor by it."""
        server, application = self.host(), self.application()
        address = server.inbound(application.address.port)
        for dialled in (0, 1):
            talker = await self.silent(server, address)
            self.clock.advance(dialled * GRACE)
            while len(application.connections) < dialled:
                await self.turn()
            talker.transport.loseWriteConnection()
            self.assertEqual(await talker.lost, "closed")
            await server.live.empty()
        self.assertEqual(await application.connections[0].lost, "closed")
        self.assertEqual(self.clock.getDelayedCalls(), [])
        await self.results(server, unused=1)

    async def test_meshed_it_is_heard_at_once(self) -> None:
        """A peer says in its OPEN which port it means: nothing is left to wait for."""
        client, server = Host(self, CLIENT, WEB_LEAF), self.host()
        application = self.application(lambda: Talker(BANNER))
        talker = await self.connect(self.pair(application, client, server))
        self.assertEqual(await talker.has(len(BANNER)), BANNER)
        await self.results(server)

    async def test_observers_see_all_bytes_in_their_order(self) -> None:
        """The answer is said first, as some servers do that shut a connection down; it is observed with its request."""
        server, application = self.host(), self.application(lambda: Talker(ANSWER))
        talker = await self.silent(server, server.inbound(application.address.port))
        self.clock.advance(GRACE)
        await talker.has(len(ANSWER))
        talker.transport.write(REQUEST)
        await application.connections[0].has(len(REQUEST))
        self.assertEqual(server.count("request_total"), 1)
        self.assertEqual(server.count("response_total"), 1)

    async def test_a_server_that_only_ends_is_passed_on_and_teaches_nothing(self) -> None:
        server, application = self.host(), self.application()
        talker, app = await self.dialled(server, application)
        app.transport.loseConnection()
        await talker.eof
        self.assertEqual(await talker.lost, "closed")
        self.assertEqual(server.parts.early.speakers.of(application.address.port), Speaker.UNKNOWN)
        await self.results(server, server_spoke=1)

    async def test_a_server_that_resets_is_a_reset(self) -> None:
        server, application = self.host(), self.application()
        talker, app = await self.dialled(server, application)
        app.transport.abortConnection()
        self.assertEqual(await talker.lost, "reset")
        self.assertEqual((await server.ended()).error, "reset")

    async def test_a_workload_that_is_not_there_is_a_reset_at_once(self) -> None:
        server, nobody = self.host(), self.nobody()
        talker = await self.silent(server, server.inbound(nobody.port))
        self.clock.advance(GRACE)
        self.assertEqual(await talker.lost, "reset")
        self.assertEqual((await server.refusal())[0], "connect_failed")
        await self.results(server, failed=1)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ClientFirstTests(EarlyCase):
    async def test_bytes_of_the_client_find_the_connection_made(self) -> None:
        server, application = self.host(), self.application(Echo)
        talker, _ = await self.dialled(server, application)
        talker.transport.write(REQUEST)
        self.assertEqual(await talker.has(len(REQUEST)), REQUEST)
        self.assertEqual(len(application.connections), 1)
        self.assertEqual(server.parts.early.speakers.of(application.address.port), Speaker.CLIENT_FIRST)
        await self.results(server, used=1)

    async def test_bytes_of_the_client_find_the_connection_being_made(self) -> None:
        server, application = self.host(), self.application(Echo)
        talker = await self.silent(server, server.inbound(application.address.port))
        talker.transport.write(REQUEST)
        self.clock.advance(GRACE)
        self.assertEqual(await talker.has(len(REQUEST)), REQUEST)
        self.assertEqual(len(application.connections), 1)
        await self.results(server, used=1)

    async def test_where_clients_speak_first_silence_is_listened_to_for_a_second(self) -> None:
        server, application = self.host(), self.application(lambda: Talker(BANNER))
        server.parts.early.speakers.client_spoke(application.address.port)
        talker = await self.silent(server, server.inbound(application.address.port))
        self.clock.advance(0.99)
        self.assertEqual((server.parts.early.open, application.connections), (0, []))
        self.clock.advance(0.01)
        self.assertEqual(await talker.has(len(BANNER)), BANNER)
        self.assertEqual(server.parts.early.speakers.of(application.address.port), Speaker.SERVER_FIRST)

    async def test_a_client_that_goes_without_a_word_leaves_nothing(self) -> None:
        server, application = self.host(), self.application()
        talker, app = await self.dialled(server, application)
        talker.transport.loseConnection()
        self.assertEqual(await app.lost, "closed")
        await self.results(server, unused=1)
        self.assertEqual((server.count("meshtx_silent_connections_total"), self.lines), (1, []))

    async def test_a_client_that_resets_is_a_reset(self) -> None:
        server, application = self.host(), self.application()
        talker, app = await self.dialled(server, application)
        talker.transport.abortConnection()
        self.assertEqual(await app.lost, "reset")

    async def test_silence_on_both_sides_goes_to_the_workload_in_the_end(self) -> None:
        server, application = self.host(), self.application(Echo)
        talker, app = await self.dialled(server, application)
        self.clock.advance(10.0)
        await self.results(server, used=1)
        self.assertEqual(server.parts.early.speakers.of(application.address.port), Speaker.UNKNOWN)
        talker.transport.write(hello())
        self.assertEqual(await app.has(len(hello())), hello())


class MemoryTests(EarlyCase):
    """No cycle keeps what is over: the collector has nothing to do."""

    async def check(self, end: Callable[[Talker, Talker], None]) -> None:
        server, application = self.host(), self.application(Echo)
        hold_collector(self)
        kinds = (EarlyDial, EarlyEnd, Arrival)
        others = living(kinds)
        talker, app = await self.dialled(server, application)
        kept = [*map(weakref.ref, living(kinds, others).values())]
        self.assertEqual(len(kept), 3)
        end(talker, app)
        await server.live.empty()
        await app.lost
        await self.turn()
        self.assertEqual([each() for each in kept if each() is not None], [])

    async def test_a_client_that_goes(self) -> None:
        await self.check(lambda talker, _: talker.transport.loseConnection())

    async def test_a_server_that_speaks_first(self) -> None:
        def end(talker: Talker, app: Talker) -> None:
            app.transport.write(BANNER)
            talker.has(len(BANNER)).addCallback(lambda _: talker.transport.loseConnection())

        await self.check(end)

    async def test_a_client_that_speaks_first(self) -> None:
        def end(talker: Talker, _: Talker) -> None:
            talker.transport.write(BANNER)
            talker.has(len(BANNER)).addCallback(lambda _: talker.transport.loseConnection())

        await self.check(end)


class HelloTests(EarlyCase):
    """A ClientHello comes after the workload was dialled."""

    async def begin(self, server: Host, application: Application) -> tuple[Talker, Talker]:
        talker, app = await self.dialled(server, application)
        talker.transport.write(hello()[:100])
        await self.held()
        return talker, app

    async def test_once_it_has_begun_the_server_is_not_read(self) -> None:
        server, application = self.host(), self.application()
        talker, app = await self.begin(server, application)
        app.transport.write(BANNER)
        for _ in range(10):
            await self.turn()
        self.clock.advance(10 - GRACE)
        self.assertEqual(await talker.lost, "reset")
        self.assertEqual((bytes(talker.got), (await server.refusal())[0]), (b"", "tls_undecided"))
        self.assertEqual(await app.lost, "reset")
        await self.results(server, unused=1)

    async def test_once_it_has_begun_nobody_is_dialled(self) -> None:
        server, application = self.host(), self.application()
        talker = await self.silent(server, server.inbound(application.address.port))
        talker.transport.write(hello()[:100])
        await self.held()
        self.clock.advance(9.9)
        for _ in range(10):
            await self.turn()
        self.assertEqual(application.connections, [])

    async def secure(self, policy: Policy = EVERYBODY) -> tuple[Host, Application, Peer, Talker]:
        """TLS to us on a port of the workload, from a client that was silent for longer than the grace."""
        server, application = self.host(policy), self.application()
        talker, app = await self.dialled(server, application)
        peer = Peer(Contexts(WEB_LEAF, CA.trust).client(VOTING, ()))
        peer.tls.start_on(talker.transport)
        assert isinstance(await peer.outcome, Session)
        return server, application, peer, app

    async def test_the_connection_serves_the_peer_that_proves_a_name(self) -> None:
        server, application, peer, app = await self.secure()
        await self.results(server, used=1)
        app.transport.write(BANNER)
        self.assertEqual(await peer.talker.has(len(BANNER)), BANNER)
        peer.talker.transport.write(b"\0\1\2\3\4")
        await app.has(5)
        self.assertEqual(len(application.connections), 1)
        self.assertEqual(await server.opened(), Mtls(WEB, ""))
        self.assertEqual(server.parts.early.speakers.of(application.address.port), Speaker.UNKNOWN)

    async def test_a_server_that_speaks_first_is_heard_inside_tls(self) -> None:
        """The ClientHello comes within the grace: the workload is not dialled before the name is proved."""
        server, application = self.host(), self.application(lambda: Talker(BANNER))
        peer = await dial(self, server.inbound(application.address.port), WEB_LEAF, alpn=[])
        self.assertEqual(await peer.talker.has(len(BANNER)), BANNER)
        await self.results(server)


class PermitTests(EarlyCase):
    """An early dial is for a peer that proves nothing: where such a one may not come, nothing is made or said."""

    async def check(self, policy: Policy) -> None:
        server, application = self.host(policy), self.application(lambda: Talker(BANNER))
        server.parts.early.speakers.server_spoke(application.address.port)
        talker = await self.silent(server, server.inbound(application.address.port))
        self.clock.advance(9.9)
        for _ in range(10):
            await self.turn()
        self.assertEqual((application.connections, server.parts.early.open), ([], 0))
        self.clock.advance(0.1)
        self.assertEqual((await talker.lost, bytes(talker.got)), ("reset", b""))
        self.assertEqual((await server.refusal())[0], "no_rule")
        self.assertEqual(application.connections, [])

    async def test_names_must_be_proved(self) -> None:
        await self.check(Policy(Mode.ALL_AUTHENTICATED))

    async def test_names_are_listed(self) -> None:
        await self.check(Policy(Mode.LISTED, frozenset({str(WEB)})))

    async def test_a_port_of_the_proxy_itself(self) -> None:
        server = self.host()
        own = server.inbound()
        server.parts.early.speakers.server_spoke(own.port)
        goal = Goal(own.ip, own.port, direct=False)
        address = self.listen(CLIENT, Inbound(server.parts, Workload(server.parts.dialler, {}), lambda _: goal))
        await self.silent(server, address)
        self.clock.advance(9.9)
        self.assertEqual((server.parts.early.open, len(server.live)), (0, 1))

    async def test_a_connection_to_the_proxy_itself(self) -> None:
        """It will say which port it means."""
        server, application = self.host(), self.application(lambda: Talker(BANNER))
        goal = Goal(application.address.ip, application.address.port, direct=True)
        inbound = Inbound(server.parts, Workload(server.parts.dialler, {}), lambda _: goal)
        await self.silent(server, self.listen(SERVER, inbound))
        self.clock.advance(9.9)
        for _ in range(10):
            await self.turn()
        self.assertEqual((application.connections, server.parts.early.open), ([], 0))


class BoundTests(EarlyCase):
    async def fill(self, speaker: Speaker, size: int) -> tuple[Host, Application, list[Talker]]:
        server, application = self.host(early_dials=4), self.application(Echo)
        if speaker is Speaker.CLIENT_FIRST:
            server.parts.early.speakers.client_spoke(application.address.port)
        address = server.inbound(application.address.port)
        talkers = [await self.silent(server, address) for _ in range(size)]
        self.clock.advance(1.0)
        while len(application.connections) < server.parts.early.open:
            await self.turn()
        return server, application, talkers

    async def test_past_the_bound_the_clients_bytes_are_waited_for(self) -> None:
        server, application, talkers = await self.fill(Speaker.UNKNOWN, 5)
        self.assertEqual((server.parts.early.open, len(application.connections)), (3, 3))
        for talker in talkers:
            talker.transport.write(REQUEST)
            self.assertEqual(await talker.has(len(REQUEST)), REQUEST)
        await self.results(server, used=3, limit=2)

    async def test_who_waits_for_a_place_gets_it_when_another_has_left(self) -> None:
        server, application, talkers = await self.fill(Speaker.UNKNOWN, 5)
        self.clock.advance(9.0)  # the first three are joined with what they have
        while len(application.connections) < 5:
            await self.turn()
        self.assertEqual(server.parts.early.open, 2)
        talkers[4].transport.write(REQUEST)
        self.assertEqual(await talkers[4].has(len(REQUEST)), REQUEST)

    async def test_silence_where_clients_speak_first_leaves_places_for_other_ports(self) -> None:
        server, _, _ = await self.fill(Speaker.CLIENT_FIRST, 5)
        self.assertEqual(server.parts.early.open, 2)
        speaks = self.application(lambda: Talker(BANNER))
        talker = await self.silent(server, server.inbound(speaks.address.port))
        self.clock.advance(GRACE)
        self.assertEqual(await talker.has(len(BANNER)), BANNER)
