"""What a finished connection leaves behind: nothing that only the collector of garbage would find."""

from __future__ import annotations

import gc
from collections import Counter, deque
from random import Random

from h2.connection import H2Connection
from prometheus_client import CollectorRegistry
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock

from meshtx.directory.remote import RemoteDirectory
from meshtx.directory.target import Meshed, Target
from meshtx.net.contexts import Contexts
from meshtx.net.dial import _Attempt
from meshtx.net.leg_pool import Peer, _Kept
from meshtx.net.poller import Transports, registrar
from meshtx.net.tls import AFTER_FAILURE, TlsProtocol
from meshtx.net.tls_tcp import Closing
from meshtx.net.transports import Client
from meshtx.observe.flows import FlowHandle
from meshtx.observe.watcher import Watcher
from meshtx.proxy.arrival import Arrival
from meshtx.proxy.ends import End
from meshtx.proxy.inbound import _Connection
from meshtx.proxy.mesh_tls import Carrier
from meshtx.proxy.peer import Hangup
from meshtx.proxy.work import Work
from meshtx.rpc.client import RpcClient
from meshtx.rpc.connect import Connector
from meshtx.wire.address import Address
from meshtx.wire.transport_header import TransportHeader, encode_header
from tests.garbage import living, watch_garbage
from tests.net.certificates import VOTING, WEB, make_ca, make_leaf
from tests.proxy.mesh import CA, CLIENT, PATIENCE, SERVER, VOTING_LEAF, WEB_LEAF, Host, MeshCase, reactor
from tests.proxy.peers import LINKERD, dial, hello, serve
from tests.proxy.talkers import Application, Talker

REQUEST = b"GET / HTTP/1.1\r\nHost: voting\r\n\r\n"
BINARY = b"\0no detector takes it for the start of anything"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nanswer"
OF_THE_BEGINNING = (Arrival, _Attempt, _Connection)
ON_A_LEG = (Arrival, _Attempt, deque)
OF_A_CONNECTION = (_Connection, Arrival, Carrier, Client, End, FlowHandle, Watcher, Work)
OF_A_CALL = (*OF_A_CONNECTION, Closing, H2Connection, RpcClient, TlsProtocol)


class GarbageTests(MeshCase):
    """Connections go, and the collector is asked what reference counts have not freed."""

    def setUp(self) -> None:
        super().setUp()
        self.client, self.server = Host(self, CLIENT, WEB_LEAF), Host(self, SERVER, VOTING_LEAF)

    async def found(self) -> dict[str, int]:
        """Return what of ours the collector finds once both proxies are done."""
        for host in (self.client, self.server):
            await host.live.empty()
        await self.turn()
        gc.collect()
        return Counter(type(each).__name__ for each in gc.garbage if isinstance(each, OF_A_CALL))

    async def one_shot(self, app: Application) -> Talker:
        """Ask the application something, as Linkerd's proxies do."""
        peer = await dial(self, self.server.inbound(), WEB_LEAF, alpn=LINKERD)
        await peer.talker.made
        peer.talker.transport.write(encode_header(TransportHeader(app.address.port)) + REQUEST)
        await peer.talker.has(len(ANSWER))
        return peer.talker

    async def over_a_leg(self, app: Application) -> Talker:
        """Ask the application something, from one proxy to the other."""
        talker = await self.connect(self.pair(app, self.client, self.server), Talker(REQUEST))
        await talker.has(len(ANSWER))
        return talker

    async def test_a_connection_of_linkerds_form_that_ends(self) -> None:
        app = self.application(lambda: Talker(ANSWER))
        watch_garbage(self)
        (await self.one_shot(app)).transport.loseConnection()
        self.assertEqual(await self.found(), {})

    async def test_a_connection_of_linkerds_form_that_is_reset(self) -> None:
        app = self.application(lambda: Talker(ANSWER))
        watch_garbage(self)
        (await self.one_shot(app)).transport.abortConnection()
        self.assertEqual(await self.found(), {})

    async def test_a_connection_over_a_leg_that_ends(self) -> None:
        app = self.application(lambda: Talker(ANSWER))
        watch_garbage(self)
        (await self.over_a_leg(app)).transport.loseConnection()
        self.assertEqual(await self.found(), {})

    async def test_a_connection_to_a_service(self) -> None:
        """The first endpoint's workload is not there, at the second time over a leg that is."""
        app = self.application(lambda: Talker(ANSWER))
        meshed = Meshed(VOTING, self.server.inbound())
        ready = tuple(Target(where, "", meshed) for where in (self.nobody(), app.address))
        self.client.directory.services[ready[0].address] = ready
        outbound = self.client.outbound(ready[0].address)
        watch_garbage(self)
        for _ in range(2):
            talker = await self.connect(outbound, Talker(REQUEST))
            await talker.has(len(ANSWER))
            talker.transport.loseConnection()
            self.assertEqual(await self.found(), {})
            self.client.directory.backends._failed.clear()
        self.assertEqual(self.server.refused(), {("inbound", "connect_failed"): 2})

    async def test_a_connection_to_a_service_whose_first_endpoint_has_no_proxy(self) -> None:
        app = self.application(lambda: Talker(ANSWER))
        ready = (
            Target(self.nobody(), "", Meshed(VOTING, self.nobody())),
            Target(app.address, "", Meshed(VOTING, self.server.inbound())),
        )
        self.client.directory.services[ready[0].address] = ready
        outbound = self.client.outbound(ready[0].address)
        watch_garbage(self)
        talker = await self.connect(outbound, Talker(REQUEST))
        await talker.has(len(ANSWER))
        talker.transport.loseConnection()
        self.assertEqual(await self.found(), {})

    async def test_a_connection_to_a_service_that_nobody_takes(self) -> None:
        meshed = Meshed(VOTING, self.server.inbound())
        ready = tuple(Target(self.nobody(), "", meshed) for _ in range(2))
        self.client.directory.services[ready[0].address] = ready
        outbound = self.client.outbound(ready[0].address)
        watch_garbage(self)
        await (await self.connect(outbound, Talker(REQUEST))).lost
        self.assertEqual(await self.found(), {})

    async def test_a_connection_over_a_leg_that_is_reset(self) -> None:
        app = self.application(lambda: Talker(ANSWER))
        watch_garbage(self)
        (await self.over_a_leg(app)).transport.abortConnection()
        self.assertEqual(await self.found(), {})

    async def test_a_plain_connection_that_is_reset(self) -> None:
        app = self.application(lambda: Talker(ANSWER))
        watch_garbage(self)
        talker = await self.connect(self.server.inbound(app.address.port), Talker(REQUEST))
        await talker.has(len(ANSWER))
        talker.transport.abortConnection()
        self.assertEqual(await self.found(), {})

    async def test_a_client_that_proves_nothing(self) -> None:
        leaf, inbound = make_leaf(make_ca(), WEB), self.server.inbound()
        watch_garbage(self)
        client = await dial(self, inbound, leaf)
        self.assertEqual((await self.server.refusal())[0], "unknown_issuer")
        client.tls.transport.loseConnection()
        await self.unconnected()
        self.assertEqual(await self.found(), {})

    async def test_a_client_that_begins_a_handshake_and_says_something_else(self) -> None:
        inbound = self.server.inbound()
        watch_garbage(self)
        await (await self.connect(inbound, Talker(hello() + b"\x16\x03\x03\0\x05hello"))).lost
        await self.unconnected()
        self.assertEqual(await self.found(), {})
        self.assertEqual(self.server.refused(), {("inbound", "tls_error"): 1})

    async def test_a_workload_that_is_not_there(self) -> None:
        inbound = self.server.inbound(self.nobody().port)
        watch_garbage(self)
        await (await self.connect(inbound, Talker(REQUEST))).lost
        self.assertEqual(await self.found(), {})
        self.assertEqual(self.server.refused(), {("inbound", "connect_failed"): 1})

    async def test_a_workload_that_is_not_there_when_it_is_asked_early(self) -> None:
        inbound = self.server.inbound(self.nobody().port)
        watch_garbage(self)
        talker = await self.connect(inbound)
        self.assertEqual((await self.server.refusal())[0], "connect_failed")
        await talker.lost
        self.assertEqual(await self.found(), {})

    async def test_a_server_that_is_not_there(self) -> None:
        outbound = self.client.outbound(self.nobody())
        watch_garbage(self)
        await (await self.connect(outbound, Talker(REQUEST))).lost
        self.assertEqual(await self.found(), {})
        self.assertEqual(self.client.refused(), {("outbound", "connect_failed"): 1})

    async def test_a_server_that_is_somebody_else(self) -> None:
        there = self.nobody()
        self.client.meshed(there, WEB, self.server.inbound())
        outbound = self.client.outbound(there)
        watch_garbage(self)
        await (await self.connect(outbound, Talker(REQUEST))).lost
        self.assertEqual(await self.found(), {})
        self.assertEqual(self.client.refused(), {("outbound", "name_mismatch"): 1})

    async def test_a_client_that_says_nothing_in_time(self) -> None:
        """Nothing at all, or not all of a ClientHello."""
        for said in (b"", hello()[:100]):
            clock = Clock()
            inbound = Host(self, SERVER, VOTING_LEAF, clock=clock).inbound()
            watch_garbage(self)
            talker = await self.connect(inbound, Talker(said))
            if said:
                await self.held()
            while not clock.getDelayedCalls():
                await self.turn()
            clock.advance(PATIENCE.handshake)
            await talker.lost
            self.assertEqual(await self.found(), {})

    async def test_a_client_that_stays_when_its_handshake_has_failed(self) -> None:
        clock = Clock()
        server = Host(self, SERVER, VOTING_LEAF, clock=clock)
        inbound = server.inbound()
        watch_garbage(self)
        talker = await self.connect(inbound, Talker(hello() + b"\x16\x03\x03\0\x05hello"))
        talker.transport.pauseProducing()
        self.assertEqual((await server.refusal())[0], "tls_error")
        while clock.getDelayedCalls():
            clock.advance(AFTER_FAILURE)
        await self.turn()
        talker.transport.abortConnection()
        await self.unconnected()
        self.assertEqual(await self.found(), {})

    async def test_a_spare_leg_that_cannot_be_opened(self) -> None:
        pool = self.client.parts.peers._pool
        via = self.server.inbound()
        watch_garbage(self)
        for peer in (Peer(self.nobody(), VOTING), Peer(via, WEB)):
            kept = _Kept(peer)
            kept.used = pool._clock.seconds()
            kept.legs = 1
            pool._open(kept)
            while kept.waiting is None:
                await self.turn()
            kept.waiting.cancel()
        await self.unconnected()
        self.assertEqual(await self.found(), {})

    async def without_a_directory(self, where: Address) -> None:
        """Try to follow a directory once."""
        at_once = registrar(reactor, Transports.QUICK)  # which tells of a refusal before anybody waits for it
        connector, contexts = Connector(at_once, where.host, where.port, VOTING), Contexts(WEB_LEAF, CA.trust)
        directory = RemoteDirectory(
            lambda contexts: ensureDeferred(connector.connect(contexts)),
            lambda: contexts,
            reactor,
            rng=Random(1),
            registry=CollectorRegistry(),
        )
        watch_garbage(self)
        directory.startService()
        while directory._follower.away is None:
            await self.turn()
        directory.stopService()
        await self.unconnected()

    async def test_a_directory_that_is_not_there(self) -> None:
        await self.without_a_directory(self.nobody())
        self.assertEqual(await self.found(), {})

    async def test_a_directory_that_is_somebody_else(self) -> None:
        await self.without_a_directory(Host(self, SERVER, WEB_LEAF).inbound())
        self.assertEqual(await self.found(), {})

    async def test_a_directory_that_ends_the_connection(self) -> None:
        await self.without_a_directory(serve(self, SERVER, VOTING_LEAF, [], [Hangup()]))
        self.assertEqual(await self.found(), {})

    async def test_what_found_out_about_a_connection_goes_before_it(self) -> None:
        app = self.application(lambda: Talker(ANSWER))
        watch_garbage(self)
        others = living(OF_THE_BEGINNING)
        await self.one_shot(app)
        self.assertEqual(living(OF_THE_BEGINNING, others), {})

    async def test_what_a_connection_over_a_leg_keeps(self) -> None:
        app = self.application()
        watch_garbage(self)
        others = living(ON_A_LEG)
        talker = await self.connect(self.pair(app, self.client, self.server), Talker(BINARY))
        await talker.has(len(BINARY))
        self.assertEqual(living(ON_A_LEG, others), {})

    async def test_a_leg_keeps_nothing_that_is_for_one_connection(self) -> None:
        app = self.application(lambda: Talker(ANSWER))
        watch_garbage(self)
        others = living((FlowHandle, Work))
        await self.over_a_leg(app)
        kinds = Counter(type(each) for each in living((FlowHandle, Work), others).values())
        self.assertEqual(kinds, {FlowHandle: 2, Work: 2})  # one in each proxy
