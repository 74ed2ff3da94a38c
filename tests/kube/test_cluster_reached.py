"""Where a pod's own proxy is reached, and who it must prove to be."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshtx.kube.cluster import Cluster, Meshed
from meshtx.kube.objects import Pod
from tests.kube.objects import SCOPE, ips, name, pod

THERE = Meshed(ips("10.1.0.1")[0], name("web"))


class ReachedTests(SynchronousTestCase):
    def reached(self, one: Pod, *others: Pod) -> Meshed | None:
        cluster = Cluster(SCOPE)
        for each in (one, *others):
            cluster.apply(None, each)
        self.assertEqual(len(list(cluster.pods)), 1 + len(others))
        return cluster.reached(one)

    def test_a_meshed_pod_is_reached_at_its_address(self) -> None:
        self.assertEqual(self.reached(pod()), THERE)
        self.assertEqual(self.reached(pod(deleting=True)), THERE)

    def test_what_has_no_proxy_of_this_mesh_is_not(self) -> None:
        for changed in ({"meshed_by": ""}, {"meshed_by": "linkerd"}, {"account": "a.dot"}):
            self.assertIsNone(self.reached(pod(**changed)), changed)

    def test_what_has_no_address_of_its_own_is_not(self) -> None:
        for changed in ({"ip": ""}, {"live": False}, {"host_network": True}):
            self.assertIsNone(self.reached(pod(**changed)), changed)

    def test_where_another_pod_has_its_address_by_now_that_one_is_meant(self) -> None:
        old, new = pod("web-1"), pod("web-2", started="2026-11-25T13:00:00Z")
        self.assertIsNone(self.reached(old, new))
        self.assertEqual(self.reached(new, old), THERE)
