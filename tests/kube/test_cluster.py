"""What the directory answers for a cluster, and what a change changes."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshtx.kube import cluster as cluster_module
from meshtx.kube.cluster import Answer, Backend, Cluster, OwnPorts, Settings
from meshtx.kube.objects import Kept, ServicePort
from meshtx.kube.ports import PROXY_PORTS
from meshtx.wire.network import parse_network
from tests.kube.objects import SCOPE, address, endpoint, host_port, ips, name, node, piece, pod, service

WEB, VIP = "10.1.0.1:8080", "10.96.0.1:80"


def cluster(*objects: Kept, **settings: Any) -> Cluster:
    made = Cluster(SCOPE, Settings(**settings))
    for each in objects:
        made.apply(None, each)
    return made


def at(text: str, **changed: Any) -> Backend:
    """Return a meshed place."""
    return Backend(address(text), **({"name": name("web")} | changed))


def plain(text: str, **changed: Any) -> Backend:
    return Backend(address(text), **changed)


class ClusterCase(SynchronousTestCase):
    def answers(self, made: Cluster, text: str, *what: Backend, authority: str = "") -> None:
        """Check who is behind an address that is a Service's."""
        self.assertEqual(made.answer(address(text)), Answer(address(text), authority, what))

    def is_at(self, made: Cluster, what: Backend) -> None:
        """Check who has an address."""
        self.assertEqual(made.answer(what.address), Answer(what.address, "", what))


class PodTests(ClusterCase):
    def test_a_meshed_pod_has_its_name_at_each_of_its_addresses(self) -> None:
        made = cluster(pod(ip="10.1.0.1 fd00::1"))
        self.is_at(made, at(WEB))
        self.is_at(made, at("[fd00::1]:8080"))

    def test_nobodys_address_is_not_meshed(self) -> None:
        self.is_at(cluster(pod()), plain("10.1.0.2:8080"))

    def test_a_pod_without_a_proxy_or_with_another_meshs_is_not_meshed(self) -> None:
        for meshed_by in ("", "linkerd"):
            self.is_at(cluster(pod(meshed_by=meshed_by)), plain(WEB))

    def test_an_account_that_no_certificate_can_name_is_not_meshed(self) -> None:
        self.is_at(cluster(pod(account="web.v1")), plain(WEB))

    def test_a_skipped_port_is_not_meshed(self) -> None:
        made = cluster(pod(skip=(range(9100, 9101),)))
        self.is_at(made, plain("10.1.0.1:9100", skipped=True))
        self.is_at(made, at("10.1.0.1:9101"))

    def test_the_proxys_own_ports_are_not_meshed(self) -> None:
        for port in (4190, 4191):
            self.is_at(cluster(pod()), plain(f"10.1.0.1:{port}", skipped=True))

    def test_opaque_ports_are_the_annotations_else_the_settings(self) -> None:
        self.is_at(cluster(pod()), at("10.1.0.1:3306", opaque=True))
        made = cluster(pod(opaque=(range(7000, 7001),)), opaque=(range(1, 2),))
        self.is_at(made, at("10.1.0.1:7000", opaque=True))
        self.is_at(made, at("10.1.0.1:3306"))
        self.is_at(cluster(opaque=(range(1, 2),)), plain("10.1.0.1:1", opaque=True))

    def test_one_on_its_nodes_network_does_not_have_the_nodes_address(self) -> None:
        self.is_at(cluster(pod(ip="192.168.0.1", host_network=True)), plain("192.168.0.1:8080"))

    def test_one_that_is_gone_leaves_nothing(self) -> None:
        made = cluster(pod())
        self.assertEqual(made.apply(pod(), None), set(ips("10.1.0.1")))
        self.is_at(made, plain(WEB))


class HasTests(SynchronousTestCase):
    def test_where_there_is_anything(self) -> None:
        there = pod(host_ports=(host_port("192.168.0.1", 80, 8080),))
        made = cluster(there, service(others="203.0.113.1"))
        for text in (WEB, "10.1.0.1:1", VIP, "10.96.0.1:1", "192.168.0.1:80", "203.0.113.1:80"):
            self.assertTrue(made.has(address(text)), text)
        for text in ("10.1.0.2:8080", "192.168.0.1:81", "203.0.113.1:81"):
            self.assertFalse(made.has(address(text)), text)


class ReusedAddressTests(ClusterCase):
    def test_one_that_has_ended_does_not_keep_its_address(self) -> None:
        ended = pod("old", account="old", live=False)
        for made in (cluster(ended, pod()), cluster(pod(), ended)):
            self.is_at(made, at(WEB))
        self.is_at(cluster(ended), plain(WEB))

    def test_of_two_the_newest_has_it(self) -> None:
        older = pod("x-old", account="old", started="2026-11-25T11:59:59Z")
        for made in (cluster(older, pod()), cluster(pod(), older)):
            self.is_at(made, at(WEB))

    def test_one_that_is_being_deleted_has_it_only_while_nobody_else_claims_it(self) -> None:
        leaving = pod("old", account="old", started="2026-11-25T12:00:01Z", deleting=True)
        made = cluster(leaving)
        self.is_at(made, at(WEB, name=name("old")))
        made.apply(None, pod())
        self.is_at(made, at(WEB))

    def test_the_other_has_it_again_when_the_newest_is_gone(self) -> None:
        made = cluster(pod("old", account="old", started="2026-11-25T11:00:00Z"), pod())
        made.apply(pod(), None)
        self.is_at(made, at(WEB, name=name("old")))

    def test_an_unmeshed_newcomer_is_not_taken_for_who_was_there(self) -> None:
        self.is_at(cluster(pod("old", deleting=True), pod("new", meshed_by="")), plain(WEB))


class NodePortTests(ClusterCase):
    def setUp(self) -> None:
        self.pod = pod(ip="10.1.0.1 fd00::1", host_ports=(host_port("192.168.0.1", 80, 8080),))

    def test_a_nodes_port_leads_to_the_pod(self) -> None:
        self.answers(cluster(self.pod), "192.168.0.1:80", at(WEB))

    def test_the_nodes_other_ports_do_not(self) -> None:
        self.is_at(cluster(self.pod), plain("192.168.0.1:81"))

    def test_its_changes_are_told_at_the_nodes_address(self) -> None:
        self.assertEqual(cluster(self.pod).apply(self.pod, None), set(ips("10.1.0.1", "fd00::1", "192.168.0.1")))

    def test_one_that_has_ended_has_no_port_either(self) -> None:
        ended = pod(live=False, host_ports=self.pod.host_ports)
        self.is_at(cluster(ended), plain("192.168.0.1:80"))


class ServiceTests(ClusterCase):
    authority = "web.shop.svc.cluster.local:80"

    def behind(self, *objects: Kept) -> tuple[Backend, ...]:
        """Return what is behind a Service with these pods and slices."""
        answer = cluster(service(), *objects).answer(address(VIP))
        assert isinstance(answer.what, tuple)
        return answer.what

    def test_its_address_becomes_its_ready_endpoints(self) -> None:
        made = cluster(
            service(), pod(), pod("web-2", "10.1.0.2", meshed_by=""), piece(endpoint(), endpoint("10.1.0.2", "web-2"))
        )
        self.answers(made, VIP, at(WEB), plain("10.1.0.2:8080"), authority=self.authority)

    def test_its_other_addresses_do_as_well(self) -> None:
        made = cluster(service(others="203.0.113.1"), pod(), piece(endpoint()))
        self.answers(made, "203.0.113.1:80", at(WEB), authority=self.authority)

    def test_the_domain_is_a_setting(self) -> None:
        self.answers(cluster(service(), domain="corp"), VIP, authority="web.shop.svc.corp:80")

    def test_each_port_has_its_own_endpoints(self) -> None:
        two = service(ports=(ServicePort("http", 80, 8080), ServicePort("db", 5432, None)))
        made = cluster(two, pod(), piece(endpoint(), ports=(("http", 8080), ("db", 5555))))
        self.answers(made, VIP, at(WEB), authority=self.authority)
        self.answers(made, "10.96.0.1:5432", at("10.1.0.1:5555"), authority="web.shop.svc.cluster.local:5432")

    def test_at_a_port_that_it_does_not_have_nobody_is(self) -> None:
        self.answers(cluster(service(), pod(), piece(endpoint())), "10.96.0.1:81")

    def test_at_another_port_of_an_external_address_may_be_somebody_else(self) -> None:
        self.is_at(cluster(service(others="192.168.0.1")), plain("192.168.0.1:22"))

    def test_nobody_is_there_without_a_slice(self) -> None:
        self.assertEqual(self.behind(pod()), ())

    def test_several_slices_are_one(self) -> None:
        self.assertEqual(
            self.behind(
                pod(),
                pod("web-2", "10.1.0.2"),
                piece(endpoint()),
                piece(endpoint("10.1.0.2", "web-2"), called="web-def"),
            ),
            (at(WEB), at("10.1.0.2:8080")),
        )

    def test_an_endpoint_that_stands_in_two_slices_is_one(self) -> None:
        for ready in (True, False):
            other = piece(endpoint(ready=ready, serving=ready), called="web-def")
            self.assertEqual(self.behind(pod(), piece(endpoint()), other), (at(WEB),))

    def test_one_that_is_not_ready_is_not_there(self) -> None:
        self.assertEqual(self.behind(pod(), piece(endpoint(ready=False, serving=False))), ())

    def test_those_that_end_and_still_serve_are_there_if_no_other_is(self) -> None:
        ending = endpoint("10.1.0.2", "web-2", ready=False, terminating=True)
        pods = (pod(), pod("web-2", "10.1.0.2", deleting=True))
        self.assertEqual(self.behind(*pods, piece(ending)), (at("10.1.0.2:8080"),))
        self.assertEqual(self.behind(*pods, piece(ending, endpoint())), (at(WEB),))

    def test_one_that_serves_but_is_not_ready_and_does_not_end_is_not_there(self) -> None:
        self.assertEqual(self.behind(pod(), piece(endpoint(ready=False))), ())

    def test_no_ports_are_none_and_no_number_is_all(self) -> None:
        self.assertEqual(self.behind(pod(), piece(endpoint(), ports=())), ())
        self.assertEqual(self.behind(pod(), piece(endpoint(), ports=(("http", None),))), (at(WEB),))

    def test_an_endpoint_that_is_no_pod_is_not_meshed(self) -> None:
        self.assertEqual(self.behind(piece(endpoint("192.0.2.1", ""))), (plain("192.0.2.1:8080"),))

    def test_one_written_by_hand_at_a_pods_address_is_the_pod(self) -> None:
        self.assertEqual(self.behind(pod(), piece(endpoint(target=""))), (at(WEB),))

    def test_one_whose_pod_is_not_known_is_left_out_not_plaintext(self) -> None:
        self.assertEqual(self.behind(piece(endpoint())), ())

    def test_one_whose_pod_does_not_have_the_address_is_left_out(self) -> None:
        for there in (pod(ip="10.1.0.2"), pod(live=False)):
            self.assertEqual(self.behind(there, piece(endpoint())), ())

    def test_one_whose_address_another_pod_has_by_now_is_left_out(self) -> None:
        newer = pod("new", account="new", started="2026-11-25T13:00:00Z")
        self.assertEqual(self.behind(pod(), newer, piece(endpoint())), ())

    def test_one_on_its_nodes_network_is_not_meshed(self) -> None:
        there = pod(ip="192.168.0.1", host_network=True)
        self.assertEqual(self.behind(there, piece(endpoint("192.168.0.1"))), (plain("192.168.0.1:8080"),))
        ended = pod(ip="192.168.0.1", host_network=True, live=False)
        self.assertEqual(self.behind(ended, piece(endpoint("192.168.0.1"))), ())

    def test_of_very_many_endpoints_some_are_told(self) -> None:
        self.patch(cluster_module, "MOST_ENDPOINTS", 2)
        many = piece(*(endpoint(f"192.0.2.{number}", "") for number in range(1, 9)))
        self.assertEqual(self.behind(many), (plain("192.0.2.1:8080"), plain("192.0.2.2:8080")))

    def test_each_address_has_endpoints_of_its_own_family(self) -> None:
        both = service(cluster="10.96.0.1 fd01::1")
        made = cluster(both, pod(ip="10.1.0.1 fd00::1"), piece(endpoint()), piece(endpoint("fd00::1"), called="web-v6"))
        self.answers(made, VIP, at(WEB), authority=self.authority)
        self.answers(made, "[fd01::1]:80", at("[fd00::1]:8080"), authority=self.authority)

    def test_no_external_address_takes_over_a_pods_or_another_services(self) -> None:
        greedy = service(
            "a", "10.96.0.9", "10.96.0.1 10.1.0.1", (ServicePort("http", 80, 1), ServicePort("x", 8080, 1))
        )
        made = cluster(service(), pod(), piece(endpoint()), greedy)
        self.answers(made, VIP, at(WEB), authority=self.authority)
        self.answers(made, "10.96.0.1:8080")
        self.is_at(made, at(WEB))

    def test_one_whose_external_address_is_its_own_leaves_nothing(self) -> None:
        twice = service("a", "10.96.0.9", "10.96.0.9 10.1.0.1")
        made = cluster(pod(), twice)
        made.apply(twice, None)
        self.is_at(made, at(WEB))
        self.is_at(made, plain("10.96.0.9:80"))
        self.assertEqual(made.ranges, cluster(pod()).ranges)

    def test_of_two_that_claim_an_address_the_first_has_it(self) -> None:
        for order in ((service("a"), service("b")), (service("b"), service("a"))):
            self.assertEqual(cluster(*order).answer(address(VIP)).authority, "a.shop.svc.cluster.local:80")


class ChangeTests(ClusterCase):
    def setUp(self) -> None:
        self.cluster = cluster(service(), service("other", "10.96.0.2"), pod(), piece(endpoint()))

    def changed(self, before: Kept | None, after: Kept | None) -> set[str]:
        return {str(ip) for ip in self.cluster.apply(before, after)}

    def test_a_pods_change_is_one_at_its_addresses_and_its_services(self) -> None:
        self.assertEqual(self.changed(pod(), pod(account="else")), {"10.1.0.1", "10.96.0.1"})

    def test_what_stays_the_same_changes_nothing(self) -> None:
        self.assertEqual(self.changed(pod(), pod()), set())

    def test_a_slices_change_is_one_at_its_service(self) -> None:
        self.assertEqual(self.changed(piece(endpoint()), None), {"10.96.0.1"})

    def test_a_slice_may_move_to_another_service(self) -> None:
        self.assertEqual(self.changed(piece(endpoint()), piece(endpoint(), of="other")), {"10.96.0.1", "10.96.0.2"})
        self.answers(self.cluster, VIP, authority="web.shop.svc.cluster.local:80")

    def test_a_service_may_change_its_address(self) -> None:
        self.assertEqual(self.changed(service(), service(cluster="10.96.0.9")), {"10.96.0.1", "10.96.0.9"})
        self.is_at(self.cluster, plain(VIP))

    def test_a_node_changes_no_answer(self) -> None:
        self.assertEqual(self.changed(None, node()), set())

    def test_what_is_gone_leaves_nothing(self) -> None:
        for each in (service(), service("other", "10.96.0.2"), pod(), piece(endpoint())):
            self.cluster.apply(each, None)
        empty = cluster()
        for text in (VIP, WEB, "10.96.0.2:80"):
            self.assertEqual(self.cluster.answer(address(text)), empty.answer(address(text)))
        self.assertEqual(self.cluster.ranges, empty.ranges)


class OwnPortsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.pod = pod(opaque=(range(1, 2),), skip=(range(9100, 9101),))

    def test_a_pod_is_told_of_its_own_ports(self) -> None:
        self.assertEqual(
            cluster(self.pod).own_ports(ips("10.9.9.9", "10.1.0.1"), name("web")),
            OwnPorts((range(1, 2),), (range(9100, 9101), *PROXY_PORTS)),
        )

    def test_nobody_is_told_of_anothers(self) -> None:
        self.assertEqual(cluster(self.pod).own_ports(ips("10.1.0.1"), name("voting")), OwnPorts())

    def test_an_unknown_one_is_told_nothing(self) -> None:
        self.assertEqual(cluster().own_ports(ips("10.1.0.1"), name("web")), OwnPorts())


class SettingsTests(SynchronousTestCase):
    def test_the_mesh_is_asked_about_inside_its_networks(self) -> None:
        made = cluster(mesh=(parse_network("10.0.0.0/8"),))
        self.assertEqual(made.ranges.mesh, (parse_network("10.0.0.0/8"),))
