"""Whose addresses are whose in a cluster."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshtx.kube.cluster_ranges import MOST_OUTSIDE, ClusterRanges, RangeBook
from meshtx.kube.objects import ServiceNetwork
from meshtx.wire.address import parse_ip
from meshtx.wire.network import Network, parse_network
from tests.kube.objects import ips, node


def networks(text: str) -> tuple[Network, ...]:
    return tuple(parse_network(each) for each in text.split())


class RangeBookTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.book = RangeBook(networks("10.0.0.0/8"), networks("192.0.2.0/25 192.0.2.128/25"))

    def test_what_the_settings_say(self) -> None:
        self.assertEqual(
            self.book.ranges, ClusterRanges(mesh=networks("10.0.0.0/8"), balancers=networks("192.0.2.0/24"))
        )

    def test_a_node_has_its_addresses_and_the_first_two_of_its_pods_network(self) -> None:
        self.book.put(node(ip="203.0.113.9 10.1.0.192", networks="10.1.0.0/24 fd00::/64"))
        self.assertEqual(self.book.ranges.nodes, networks("10.1.0.0/31 10.1.0.192/32 203.0.113.9/32 fd00::/127"))

    def test_a_network_of_one_address_has_no_second(self) -> None:
        self.book.put(node(ip="", networks="10.1.0.0/32"))
        self.assertEqual(self.book.ranges.nodes, networks("10.1.0.0/32"))

    def test_pods_networks_are_the_meshs_too(self) -> None:
        self.book.put(node(networks="172.16.0.0/24"))
        self.book.put(node("node-2", "192.168.0.2", "172.16.1.0/24"))
        self.assertEqual(self.book.ranges.pods, networks("172.16.0.0/23"))
        self.assertEqual(self.book.ranges.mesh, networks("10.0.0.0/8 172.16.0.0/23"))

    def test_so_are_those_of_services(self) -> None:
        self.book.put(ServiceNetwork("kubernetes", networks("100.64.0.0/16")))
        self.assertEqual(self.book.ranges.mesh, networks("10.0.0.0/8 100.64.0.0/16"))

    def test_what_is_gone_leaves_nothing(self) -> None:
        before = self.book.ranges
        services = ServiceNetwork("kubernetes", networks("100.64.0.0/16"))
        for each in (node(), services):
            self.book.put(each)
            self.book.remove(each)
        self.assertEqual(self.book.ranges, before)

    def test_around_an_address_that_is_in_none_of_them_the_mesh_is_asked_about_as_well(self) -> None:
        self.book.enter(ips("10.1.0.1", "203.0.113.7", "203.0.113.8", "2001:db8::1"))
        self.assertEqual(self.book.ranges.mesh, networks("10.0.0.0/8 203.0.113.0/24 2001:db8::/64"))
        self.book.leave(ips("203.0.113.7", "2001:db8::1"))
        self.assertEqual(self.book.ranges.mesh, networks("10.0.0.0/8 203.0.113.0/24"))
        self.book.leave(ips("10.1.0.1", "203.0.113.8"))
        self.assertEqual(self.book.ranges.mesh, networks("10.0.0.0/8"))

    def test_what_was_told_is_made_anew_only_for_another_network(self) -> None:
        before = self.book.ranges
        self.book.enter(ips("10.1.0.1"))
        self.assertIs(self.book.ranges, before)
        self.book.enter(ips("203.0.113.7"))
        after = self.book.ranges
        self.assertEqual(after.mesh, networks("10.0.0.0/8 203.0.113.0/24"))
        self.book.enter(ips("203.0.113.8"))
        self.book.leave(ips("203.0.113.7"))
        self.assertIs(self.book.ranges, after)

    def test_around_more_of_them_than_are_told_all_is_asked_about(self) -> None:
        many = [parse_ip(f"100.{number // 256}.{number % 256}.1") for number in range(MOST_OUTSIDE + 2)]
        self.book.enter(many[:MOST_OUTSIDE])
        self.assertNotIn(networks("::/0")[0], self.book.ranges.mesh)
        self.book.enter([many[MOST_OUTSIDE]])
        everything = self.book.ranges
        self.assertEqual(everything.mesh, networks("0.0.0.0/0 ::/0"))
        one_more = [many.pop()]
        self.book.enter(one_more)
        self.book.leave(one_more)
        self.assertIs(self.book.ranges, everything)
        self.book.leave(many[:1])
        self.assertEqual(sum(each.num_addresses for each in self.book.ranges.mesh), 2**24 + 2**8 * MOST_OUTSIDE)
