"""A sidecar's directory and the one that serves a cluster, both as they are, by the messages between them."""

from __future__ import annotations

from meshtx.directory.target import Meshed, NoEndpoints, PortFacts, Target
from meshtx.kube.cluster import Cluster, Settings
from meshtx.kube.directory_service import BATCH, DirectoryService
from meshtx.kube.objects import Kept
from meshtx.observe.flow import NoTls, NoTlsReason
from meshtx.rpc.server import RpcServer
from meshtx.wire.address import Address
from meshtx.wire.network import parse_network
from tests.directory.remote_case import PLAIN, RemoteCase, plain
from tests.kube.objects import SCOPE, endpoint, name, piece, pod, service

VIP = "10.96.0.1:80"
AUTHORITY = "web.shop.svc.cluster.local:80"


class ClusterTests(RemoteCase):
    def setUp(self) -> None:
        super().setUp()
        settings = Settings(mesh=(parse_network("10.0.0.0/8"),))
        self.cluster = DirectoryService(Cluster(SCOPE, settings), self.clock, lambda: True)
        self.service.server = RpcServer(self.cluster.handlers(), self.clock)
        self.service.peer = name("voting")
        self.addCleanup(self.cluster.stop)
        self.change(None, pod("web-1", "10.1.0.1"))
        self.change(None, pod("web-2", "10.1.0.2"))
        self.change(None, pod("old", "10.1.0.3", meshed_by=""))
        self.change(None, service())
        self.first = piece(endpoint("10.1.0.1", "web-1"))
        self.change(None, self.first)
        self.change(None, pod("voting", "10.1.0.9", account="voting", skip=(range(9100, 9101),)))
        self.directory.startService()
        self.clock.advance(0)

    def change(self, before: Kept | None, after: Kept | None) -> None:
        self.cluster.changed(before, after)

    def settled(self) -> None:
        for _ in range(4):
            self.service.flush()
            self.clock.advance(BATCH)
        self.service.flush()

    def known(self) -> None:
        self.cluster.known()
        self.settled()

    def meshed(self, text: str, authority: str = "") -> Target:
        where = Address.parse(text)
        return Target(where, authority, Meshed(name("web"), Address(where.ip, 4143)))

    def test_before_the_cluster_is_known_everything_waits(self) -> None:
        waiting, outside = self.find("10.1.0.1:8080"), self.find("192.0.2.1:443")
        self.assertNoResult(waiting)
        self.known()
        self.assertEqual(self.successResultOf(waiting), self.meshed("10.1.0.1:8080"))
        self.assertEqual(self.successResultOf(outside), plain("192.0.2.1:443"))

    def test_what_is_where(self) -> None:
        self.known()
        self.assertEqual(self.successResultOf(self.find("10.1.0.1:8080")), self.meshed("10.1.0.1:8080"))
        self.assertEqual(self.successResultOf(self.find(VIP)), self.meshed("10.1.0.1:8080", AUTHORITY))
        self.assertEqual(self.successResultOf(self.find("10.1.0.3:80")).security, PLAIN)
        self.assertEqual(self.successResultOf(self.find("10.1.0.77:80")).security, PLAIN)
        skipped = self.successResultOf(self.find("10.1.0.9:9100"))
        self.assertEqual(skipped.security, NoTls(NoTlsReason.PORT_SKIPPED))

    def test_own_ports_are_those_of_the_pod_from_which_it_connects(self) -> None:
        self.known()
        self.assertTrue(self.directory.own_port(Address.parse("10.1.0.9:9100")).skipped)
        self.assertFalse(self.directory.own_port(Address.parse("10.1.0.9:9101")).skipped)

    def test_what_hides_its_own_clients_is_known_as_long_as_it_does(self) -> None:
        own, hidden = Address.parse("10.1.0.9:8080"), PortFacts(hidden_by="shop/voting")
        hiding, seen = (service("voting", "10.96.0.2", hides=hides) for hides in (True, False))
        self.change(None, hiding)
        self.change(None, piece(endpoint("10.1.0.9", "voting"), called="voting-1", of="voting"))
        self.known()
        self.assertEqual(self.directory.own_port(own), hidden)
        self.assertEqual(self.directory.own_port(Address.parse("10.1.0.9:80")), PortFacts())
        for before, after, told in ((hiding, seen, PortFacts()), (seen, hiding, hidden)):
            self.change(before, after)
            self.settled()
            self.assertEqual(self.directory.own_port(own), told)

    def test_endpoints_come_and_go(self) -> None:
        self.known()
        self.successResultOf(self.find(VIP))
        both = piece(endpoint("10.1.0.1", "web-1"), endpoint("10.1.0.2", "web-2"))
        self.change(self.first, both)
        self.settled()
        found = {self.successResultOf(self.find(VIP)).address for _ in range(50)}
        self.assertEqual({str(each) for each in found}, {"10.1.0.1:8080", "10.1.0.2:8080"})
        nobody = piece()
        self.change(both, nobody)
        self.settled()
        self.failureResultOf(self.find(VIP), NoEndpoints)

    def test_what_it_missed_it_hears_in_the_next_session(self) -> None:
        self.known()
        self.successResultOf(self.find("10.1.0.1:8080"))
        for wire in self.service.wires:
            wire.lose(ConnectionError())
        self.change(pod("web-1", "10.1.0.1"), None)
        for _ in range(10):
            self.clock.advance(0.5)
            self.settled()
        self.assertEqual(self.successResultOf(self.find("10.1.0.1:8080")).security, PLAIN)
