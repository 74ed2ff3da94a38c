"""Connections to a service: one of its endpoints gets each, and another if that one is not there."""

from __future__ import annotations

import os

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol

from meshtx.directory.target import Meshed, Target
from meshtx.net.leg_client import MAX_KEPT
from meshtx.observe.flow import FlowEnd, Mtls, NoTls, NoTlsReason
from meshtx.pki.name import Name
from meshtx.proxy.policy import Mode, Policy
from meshtx.wire.address import Address
from meshtx.wire.leg_frames import HEADER
from tests.net.certificates import VOTING, WEB, make_leaf
from tests.proxy.mesh import CA, CLIENT, SERVER, VOTING_LEAF, WEB_LEAF, Host, MeshCase
from tests.proxy.peers import serve
from tests.proxy.talkers import Application, Echo, Talker

SERVICE = Address.parse("10.96.0.1:80")
AUTHORITY = "voting.emojivoto.svc.cluster.local:80"
BINARY = b"\0SECRET words"
"""No detector takes it for the start of anything."""
PLAIN = NoTls(NoTlsReason.NOT_DISCOVERED)


class ServiceCase(MeshCase):
    def setUp(self) -> None:
        super().setUp()
        self.client = Host(self, CLIENT, WEB_LEAF)
        self.backends = self.client.directory.backends
        self.address = self.client.outbound(SERVICE)

    async def settle(self) -> None:
        await super().settle()
        self.assertEqual(self.backends._open, {})

    def ready(self, *targets: Target) -> None:
        """Set the service's endpoints, in the order in which they are tried."""
        self.client.directory.services[SERVICE] = targets

    def plain(self, where: Address) -> Target:
        return Target(where, AUTHORITY, PLAIN)

    def meshed(self, where: Address, via: Address, name: Name = VOTING) -> Target:
        return Target(where, AUTHORITY, Meshed(name, via))

    def endpoint(self, application: Application, host: Host | None = None, name: Name = VOTING) -> Target:
        """Put an application into the mesh, behind a proxy of its own."""
        host = host or Host(self, SERVER, VOTING_LEAF)
        return self.meshed(application.address, self.between(host.inbound()), name)

    def gone(self, host: Host | None = None) -> Target:
        """Return an endpoint whose proxy is there, and whose workload is not."""
        return self.endpoint(Application(self.nobody()), host)

    async def talk(self, said: bytes = BINARY) -> Talker:
        """Connect, and hear what was said."""
        talker = await self.connect(self.address, Talker(said))
        self.assertEqual(await talker.has(len(said)), said)
        return talker

    async def refused(self, reason: str, detail: str) -> None:
        talker = await self.connect(self.address, Talker(BINARY))
        self.assertEqual(await talker.lost, "reset")
        told, about = await self.client.refusal()
        self.assertEqual(told, reason)
        self.assertIn(detail, about)

    async def idle(self, number: int) -> None:
        while self.client.count("meshtx_legs_idle") != number:
            await self.turn()

    async def finish(self, talker: Talker) -> None:
        talker.transport.loseConnection()
        await talker.lost
        await self.client.live.empty()


class WayTests(ServiceCase):
    async def test_the_endpoint_is_what_tap_shows_and_the_service_its_authority(self) -> None:
        server, app = Host(self, SERVER, VOTING_LEAF), self.application()
        self.ready(self.endpoint(app, server))
        talker = await self.talk()
        self.assertEqual(await self.client.opened(), Mtls(VOTING, "meshtx/1"))
        self.assertEqual(self.client.taps.events[0].flow.dst, app.address)
        self.assertEqual(self.backends.open(app.address), 1)
        await self.finish(talker)
        self.assertEqual(self.backends.open(app.address), 0)

    async def test_over_a_leg_that_is_there_too(self) -> None:
        app = self.application()
        self.ready(self.endpoint(app))
        await self.finish(await self.talk())
        await self.idle(1)
        talker = await self.talk()
        self.assertEqual(self.backends.open(app.address), 1)
        self.assertEqual(self.client.count("meshtx_legs_reused_total"), 1)
        await self.finish(talker)

    async def test_connections_go_where_there_are_fewer(self) -> None:
        apps = [self.application() for _ in range(3)]
        self.ready(*(self.plain(app.address) for app in apps[:2]))
        for _ in range(4):
            await self.talk()
        self.assertEqual([len(app.connections) for app in apps], [2, 2, 0])

    async def test_plaintext(self) -> None:
        app = self.application()
        self.ready(self.plain(app.address))
        await self.talk()
        self.assertEqual(await self.client.opened(), PLAIN)
        self.assertEqual(self.client.taps.events[0].flow.dst, app.address)

    async def test_a_service_without_endpoints(self) -> None:
        self.ready()
        await self.refused("no_endpoints", "no endpoint that is ready")
        self.assertEqual(self.client.refused(), {("outbound", "no_endpoints"): 1})

    async def test_the_endpoint_that_is_asked_for_is_its_own_port(self) -> None:
        """The port of the service is nobody's."""
        app = self.application()
        self.assertNotEqual(app.address.port, SERVICE.port)
        self.ready(self.endpoint(app))
        await self.talk()
        self.assertEqual(app.got, BINARY)


class ElsewhereTests(ServiceCase):
    async def test_a_port_that_is_closed(self) -> None:
        app = self.application()
        self.ready(self.plain(self.nobody()), self.plain(app.address))
        await self.talk()
        self.assertEqual(self.client.taps.events[0].flow.dst, app.address)
        self.assertEqual(self.client.count("tcp_open_total"), 1)

    async def test_a_proxy_that_is_gone(self) -> None:
        app = self.application()
        self.ready(self.meshed(self.nobody(), self.nobody()), self.endpoint(app))
        await self.talk()
        self.assertEqual(await self.client.opened(), Mtls(VOTING, "meshtx/1"))

    async def test_before_a_byte_whatever_the_directory_says_of_the_next_one(self) -> None:
        server, app = Host(self, SERVER, VOTING_LEAF), self.application()
        self.ready(self.plain(self.nobody()), self.endpoint(app, server))
        await self.talk()
        self.assertEqual(await self.client.opened(), Mtls(VOTING, "meshtx/1"))
        self.assertNotIn(b"SECRET", self.wire)

    async def test_a_workload_that_is_not_there(self) -> None:
        app = self.application()
        self.ready(self.gone(), self.gone(), self.endpoint(app))
        talker = await self.talk()
        self.assertEqual(app.got, BINARY)
        self.assertEqual(self.backends.open(app.address), 1)
        await self.finish(talker)
        event = await self.client.taps.saw(lambda event: isinstance(event.what, FlowEnd))
        self.assertEqual((event.flow.security, event.flow.dst), (Mtls(VOTING, "meshtx/1"), app.address))
        self.assertEqual(self.client.refused(), {})

    async def test_all_of_it_goes_there_and_in_order(self) -> None:
        said = os.urandom(MAX_KEPT)
        app = self.application(Echo)
        self.ready(self.gone(), self.endpoint(app))
        talker = await self.connect(self.address, Talker(said))
        talker.transport.loseWriteConnection()
        self.assertEqual(await talker.lost, "closed")
        self.assertEqual((bytes(talker.got), app.got), (said, said))

    async def test_over_a_leg_that_is_there(self) -> None:
        """The workload stops, and its proxy does not."""
        app, other = self.application(), self.application()
        host = Host(self, SERVER, VOTING_LEAF)
        first = self.endpoint(app, host)
        self.ready(first)
        await self.finish(await self.talk())
        await self.idle(1)
        self.ready(self.meshed(self.nobody(), first.security.via), self.endpoint(other))  # type: ignore[union-attr]
        await self.talk()
        self.assertEqual((app.got, other.got), (BINARY, BINARY))

    async def test_over_a_leg_whose_proxy_has_gone(self) -> None:
        app, other = self.application(), self.application()
        via = self.between(Host(self, SERVER, VOTING_LEAF).inbound())
        self.ready(self.meshed(app.address, via))
        await self.finish(await self.talk())
        await self.idle(1)
        await self.ports[via].stopListening()
        [wire] = self.wires
        wire.transport.pauseProducing()  # nobody answers on it any more
        self.ready(self.meshed(app.address, via), self.endpoint(other))
        talker = await self.connect(self.address)
        while not self.client.count("meshtx_legs_reused_total"):
            await self.turn()
        self.cut()
        while self.client.count("meshtx_legs_replayed_total") < 2:  # a new leg to the same is tried first
            await self.turn()
        talker.transport.write(BINARY)
        self.assertEqual(await talker.has(len(BINARY)), BINARY)
        self.assertEqual((app.got, other.got), (BINARY, BINARY))

    async def test_who_failed_is_left_alone_by_the_next_connection(self) -> None:
        app = self.application()
        self.ready(self.plain(self.nobody()), self.plain(app.address), self.plain(self.nobody()))
        await self.finish(await self.talk())
        await self.talk()
        self.assertEqual(len(self.backends._failed), 1)

    async def test_a_proxy_that_stops(self) -> None:
        app, other = self.application(), self.application()
        stopping = Host(self, SERVER, VOTING_LEAF)
        self.ready(self.endpoint(other, stopping), self.endpoint(app))
        dialled: Deferred[None] = Deferred()

        def dial(*_: object) -> Deferred[IProtocol]:
            dialled.callback(None)
            return Deferred()

        stopping.parts.dialler.dial = dial  # type: ignore[method-assign]
        talker = await self.connect(self.address, Talker(BINARY))
        await dialled
        stopping.live.abort()
        self.assertEqual(await talker.has(len(BINARY)), BINARY)
        self.assertEqual((app.got, other.connections), (BINARY, []))


class NowhereElseTests(ServiceCase):
    async def test_if_none_is_there(self) -> None:
        self.ready(self.plain(self.nobody()), self.plain(self.nobody()))
        await self.refused("connect_failed", "Connection refused")

    async def test_if_no_workload_is_there(self) -> None:
        self.ready(self.gone(), self.gone())
        await self.refused("refused_by_peer", "connect_failed")

    async def test_if_no_proxy_is_there_after_one_without_its_workload(self) -> None:
        self.ready(self.gone(), self.meshed(self.nobody(), self.nobody()))
        await self.refused("connect_failed", "Connection refused")

    async def test_a_policy_that_says_no(self) -> None:
        strict = Host(self, SERVER, VOTING_LEAF, policy=Policy(Mode.LISTED, frozenset({str(VOTING)})))
        app = self.application()
        self.ready(self.endpoint(self.application(), strict), self.endpoint(app))
        await self.refused("refused_by_peer", "no_rule")
        self.assertEqual(app.connections, [])

    async def test_a_name_that_does_not_fit(self) -> None:
        app = self.application()
        other = Host(self, SERVER, make_leaf(CA, WEB))
        self.ready(self.endpoint(self.application(), other), self.endpoint(app))
        await self.refused("name_mismatch", "unrecognized name")
        self.assertEqual(app.connections, [])

    async def test_what_was_meshed_is_never_plaintext(self) -> None:
        app = self.application()
        self.ready(self.gone(), self.plain(app.address))
        await self.refused("refused_by_peer", "connect_failed")
        self.assertEqual(app.connections, [])

    async def test_nor_somebody_elses(self) -> None:
        """The client's bytes were for the one name, and that is what tap has shown."""
        app = self.application()
        self.ready(self.gone(), self.endpoint(app, Host(self, SERVER, WEB_LEAF), WEB))
        await self.refused("refused_by_peer", "connect_failed")
        self.assertEqual(app.connections, [])

    async def test_after_the_workload_has_taken_it(self) -> None:
        app, other = self.application(), self.application()
        self.ready(self.endpoint(app), self.endpoint(other))
        talker = await self.talk()
        self.cut()
        self.assertEqual(await talker.lost, "reset")
        self.assertEqual((app.got, other.connections), (BINARY, []))

    async def test_a_new_leg_that_is_lost_before_its_answer(self) -> None:
        """ACCEPT may have been lost with it, even if nothing was sent."""
        app, silent = self.application(), Talker()
        via = serve(self, SERVER, VOTING_LEAF, ["meshtx/1"], [silent])
        self.ready(self.meshed(self.nobody(), via), self.endpoint(app))
        talker = await self.connect(self.address, Talker())
        await silent.has(HEADER)
        silent.transport.abortConnection()
        self.assertEqual(await talker.lost, "reset")
        self.assertEqual(app.connections, [])

    async def test_a_client_that_goes_is_counted_nowhere(self) -> None:
        silent = Talker()
        via = serve(self, SERVER, VOTING_LEAF, ["meshtx/1"], [silent])
        self.ready(self.meshed(self.nobody(), via))
        talker = await self.connect(self.address, Talker(BINARY))
        await silent.has(len(BINARY))
        self.assertEqual(sum(self.backends._open.values()), 1)
        talker.transport.abortConnection()
        await self.client.live.empty()
        self.assertEqual(self.backends._open, {})
