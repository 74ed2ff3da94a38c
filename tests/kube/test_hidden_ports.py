"""Of which of its ports a pod is told that a Service hides their clients, and which changes change that."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshtx.kube.cluster import Cluster
from meshtx.kube.objects import Kept, Service, ServicePort, Slice
from meshtx.kube.service_index import MOST_HIDDEN
from tests.kube.objects import SCOPE, elsewhere, endpoint, ips, name, piece, pod, service

WEB = "10.1.0.1"
HTTP, METRICS = ServicePort("http", 80, 8080), ServicePort("metrics", 9100, None)


def public(called: str = "web", **changed: Any) -> Service:
    """Return a Service that hides its clients."""
    return service(called, **({"hides": True} | changed))


class HiddenCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = Cluster(SCOPE)

    def there(self, *objects: Kept) -> None:
        for each in objects:
            self.cluster.apply(None, each)

    def told(self, text: str = WEB) -> dict[int, str]:
        """Return what a pod is told, by its address."""
        return dict(self.cluster.own_ports(ips(text), name("web")).hidden)

    def change(self, before: Kept | None, after: Kept | None, *touched: str) -> dict[int, str]:
        """Change an object; check whose addresses may be told something else, and return what the pod is."""
        self.assertEqual(self.cluster.apply(before, after), set(ips(*touched)))
        return self.told()


class ToldTests(HiddenCase):
    def test_a_port_behind_a_service_that_hides_its_clients(self) -> None:
        self.there(pod(), public(), piece(endpoint()))
        self.assertEqual(self.told(), {8080: "shop/web"})

    def test_none_behind_one_that_does_not(self) -> None:
        self.there(pod(), service(), piece(endpoint()))
        self.assertEqual(self.told(), {})

    def test_none_of_another_pod_or_account(self) -> None:
        self.there(pod(), pod("other", "10.1.0.2"), public(), piece(endpoint()))
        self.assertEqual(self.told("10.1.0.2"), {})
        self.assertEqual(self.cluster.own_ports(ips(WEB), name("voting")).hidden, {})

    def test_what_comes_in_any_order(self) -> None:
        self.there(piece(endpoint()), public(), pod())
        self.assertEqual(self.told(), {8080: "shop/web"})

    def test_a_named_port_has_the_number_that_the_slice_says(self) -> None:
        self.there(pod(), public(ports=(METRICS,)), piece(endpoint(), ports=(("metrics", 9101),)))
        self.assertEqual(self.told(), {9101: "shop/web"})

    def test_a_slice_without_a_number_means_the_services(self) -> None:
        self.there(pod(), public(ports=(HTTP, METRICS)), piece(endpoint(), ports=(("http", None), ("metrics", None))))
        self.assertEqual(self.told(), {8080: "shop/web", 9100: "shop/web"})

    def test_not_a_port_that_the_service_does_not_have(self) -> None:
        self.there(pod(), public(), piece(endpoint(), ports=(("http", 8080), ("old", 9100))))
        self.assertEqual(self.told(), {8080: "shop/web"})

    def test_of_two_services_the_one_that_hides(self) -> None:
        self.there(pod(), service("internal"), piece(endpoint(), called="internal-a", of="internal"))
        self.there(public(), piece(endpoint()))
        self.assertEqual(self.told(), {8080: "shop/web"})

    def test_of_two_that_hide_the_first(self) -> None:
        for called in ("zoo", "all", "web"):
            self.there(public(called), piece(endpoint(), called=f"slice-of-{called}", of=called))
        self.there(pod())
        self.assertEqual(self.told(), {8080: "shop/all"})

    def test_each_port_has_its_own(self) -> None:
        ports = (("metrics", 9100),)
        self.there(pod(), public(), piece(endpoint()))
        self.there(public("metrics", ports=(METRICS,)), piece(endpoint(), called="m", of="metrics", ports=ports))
        self.assertEqual(self.told(), {8080: "shop/web", 9100: "shop/metrics"})

    def test_all_of_a_pods_addresses_count(self) -> None:
        self.there(pod(ip=f"{WEB} fd00::1"), public(), piece(endpoint("fd00::1")))
        self.assertEqual(self.told(), {8080: "shop/web"})

    def test_an_endpoint_that_is_not_ready_has_connections_all_the_same(self) -> None:
        self.there(pod(), public(), piece(endpoint(ready=False, terminating=True)))
        self.assertEqual(self.told(), {8080: "shop/web"})


class BoundTests(HiddenCase):
    def many(self, number: int) -> Iterable[Service | Slice]:
        for each in range(number):
            yield public(f"s-{each}", ports=(ServicePort("http", 80, 1000 + each),))
            yield piece(endpoint(), called=f"s-{each}", of=f"s-{each}", ports=(("http", None),))

    def test_of_a_services_ports(self) -> None:
        """More are not looked at, neither of the Service's nor of the slice's, which has them in the same order."""
        ports = tuple(ServicePort(f"p{each}", each, each) for each in range(2 * MOST_HIDDEN, 0, -1))
        names = [(each.name, None) for each in ports]
        slices = piece(endpoint(), ports=tuple(names)), piece(endpoint(), ports=tuple(reversed(names)))
        self.there(pod(), public(ports=ports), slices[0])
        self.assertEqual(list(self.told()), list(range(MOST_HIDDEN + 1, 2 * MOST_HIDDEN + 1)))
        self.cluster.apply(*slices)
        self.assertEqual(self.told(), {})

    def test_of_ports_of_several_services(self) -> None:
        ports = tuple(ServicePort(f"p{each}", each, each) for each in range(1, MOST_HIDDEN + 1))
        slices = tuple((each.name, None) for each in ports)
        self.there(pod(), *self.many(5), public("all", ports=ports), piece(endpoint(), of="all", ports=slices))
        self.assertEqual(list(self.told()), list(range(1, MOST_HIDDEN + 1)))

    def test_of_services(self) -> None:
        self.there(pod(), *self.many(MOST_HIDDEN))
        self.assertEqual(len(self.told()), MOST_HIDDEN)
        self.there(public(), piece(endpoint()))
        self.assertEqual(self.told(), {})

    def test_services_of_another_namespace_are_not_told_and_take_no_place(self) -> None:
        self.there(pod(), public(), piece(endpoint()))
        for each in self.many(MOST_HIDDEN):
            self.there(elsewhere(each))
        self.there(elsewhere(public("a")), elsewhere(piece(endpoint(), called="a", of="a")))
        self.assertEqual(self.told(), {8080: "shop/web"})


class ChangeTests(HiddenCase):
    VIP = "10.96.0.1"

    def setUp(self) -> None:
        super().setUp()
        self.there(pod(), pod("web-2", "10.1.0.2"), public(), piece(endpoint()))

    def test_the_policy_and_back(self) -> None:
        self.assertEqual(self.change(public(), service(), self.VIP, WEB), {})
        self.assertEqual(self.change(service(), public(), self.VIP, WEB), {8080: "shop/web"})

    def test_a_service_comes_and_goes(self) -> None:
        self.assertEqual(self.change(public(), None, self.VIP, WEB), {})
        self.assertEqual(self.change(None, public(), self.VIP, WEB), {8080: "shop/web"})

    def test_its_ports(self) -> None:
        moved = public(ports=(ServicePort("other", 80, 8080),))
        self.assertEqual(self.change(public(), moved, self.VIP, WEB), {})

    def test_what_else_changes_of_it_is_no_change_for_its_pods(self) -> None:
        self.change(public(), public(others="203.0.113.1"), self.VIP, "203.0.113.1")

    def test_whatever_a_service_of_another_namespace_hides_is_no_change_for_pods(
        self,
    ) -> None:
        there = elsewhere(public("a", cluster=""))
        self.change(None, elsewhere(piece(endpoint(), called="a", of="a")))
        self.change(None, there)
        self.change(elsewhere(piece(endpoint(), called="a", of="a")), None)
        self.assertEqual(self.change(there, None), {8080: "shop/web"})

    def test_a_pod_is_told_by_whichever_of_its_addresses_it_follows(self) -> None:
        self.there(pod("two", "10.1.0.3 fd00::3"))
        slices = piece(endpoint("fd00::3", "two"), called="web-6")
        self.change(None, slices, self.VIP, "10.1.0.3", "fd00::3")
        self.change(public(), service(), self.VIP, WEB, "10.1.0.3", "fd00::3")

    def test_of_one_that_hides_nobody_nothing_is_a_change_for_its_pods(self) -> None:
        self.change(public(), service(), self.VIP, WEB)
        self.change(service(), service(ports=(METRICS,)), self.VIP)
        self.change(piece(endpoint()), None, self.VIP)

    def test_endpoints_that_come_and_go_are_those_whose_pods_are_told(self) -> None:
        both = piece(endpoint(), endpoint("10.1.0.2", "web-2"))
        self.assertEqual(self.change(piece(endpoint()), both, self.VIP, "10.1.0.2"), {8080: "shop/web"})
        self.assertEqual(self.told("10.1.0.2"), {8080: "shop/web"})
        self.assertEqual(self.change(both, piece(endpoint("10.1.0.2", "web-2")), self.VIP, WEB), {})

    def test_another_port_of_the_endpoints(self) -> None:
        moved = piece(endpoint(), ports=(("http", 8081),))
        self.assertEqual(self.change(piece(endpoint()), moved, self.VIP, WEB), {8081: "shop/web"})

    def test_another_service_of_a_slice(self) -> None:
        self.there(public("all", cluster=""))
        self.assertEqual(self.change(piece(endpoint()), piece(endpoint(), of="all"), self.VIP, WEB), {8080: "shop/all"})

    def test_a_slice_comes_and_goes(self) -> None:
        self.assertEqual(self.change(piece(endpoint()), None, self.VIP, WEB), {})
        self.assertEqual(self.change(None, piece(endpoint()), self.VIP, WEB), {8080: "shop/web"})

    def test_whether_an_endpoint_is_ready_changes_nothing_for_its_pod(self) -> None:
        self.change(piece(endpoint()), piece(endpoint(ready=False)), self.VIP)

    def test_what_is_gone_leaves_nothing(self) -> None:
        for each in (piece(endpoint()), public()):
            self.cluster.apply(each, None)
        self.assertEqual(self.told(), {})
