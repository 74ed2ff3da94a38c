"""Whatever comes in whatever order, the cluster is as if made from what there is, and has told each change."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from meshtx.kube.cluster import Cluster, OwnPorts, Settings
from meshtx.kube.objects import Kept, ServicePort
from meshtx.wire.address import IP, Address, parse_ip
from meshtx.wire.network import parse_network
from tests.kube.objects import SCOPE, elsewhere, endpoint, host_port, name, node, piece, pod, service

IPS = ["10.1.0.1", "10.1.0.2", "203.0.113.1", "10.96.0.1", "192.168.0.1"]
UNIVERSE = [Address(parse_ip(ip), port) for ip in IPS for port in (80, 81, 3306, 8080)]
NAMES = ["a", "b", "c"]

names, some_ips, flags = st.sampled_from(NAMES), st.sampled_from(IPS), st.booleans()
PODS = st.builds(
    pod,
    names,
    st.lists(some_ips, min_size=1, max_size=2, unique=True).map(" ".join),
    live=flags,
    deleting=flags,
    host_network=flags,
    started=st.sampled_from(["", "1", "2"]),
    meshed_by=st.sampled_from(["", "meshtx"]),
    account=names,
    skip=st.sampled_from([(), (range(80, 81),)]),
    host_ports=st.sampled_from([(), (host_port("192.168.0.1", 81, 80),)]),
)
SERVICES = st.builds(
    service,
    names,
    st.sampled_from(["", "10.96.0.1", "10.1.0.2"]),
    st.sampled_from(["", "203.0.113.1", "10.96.0.1 203.0.113.1"]),
    st.sampled_from([(ServicePort("http", 80, 8080),), (ServicePort("http", 81, None), ServicePort("db", 3306, 80))]),
    flags,
)
ENDPOINTS = st.builds(endpoint, some_ips, st.sampled_from(["", *NAMES]), ready=flags, serving=flags, terminating=flags)
SLICES = st.builds(
    lambda endpoints, called, of, ports: piece(*endpoints, called=called, of=of, ports=ports),
    st.lists(ENDPOINTS, max_size=3),
    names,
    names,
    st.sampled_from([(), (("http", 8080),), (("http", None), ("db", 80))]),
)
NODES = st.builds(node, names, some_ips, st.sampled_from(["", "10.1.0.0/24", "172.16.0.0/24"]))
OBJECTS = PODS | SERVICES | SLICES | NODES | SERVICES.map(elsewhere) | SLICES.map(elsewhere)

Key = tuple[type, str]
Owns = dict[tuple[IP, str], OwnPorts]


def cluster() -> Cluster:
    return Cluster(SCOPE, Settings(mesh=(parse_network("10.0.0.0/8"),)))


def owns(made: Cluster) -> Owns:
    """Return what is said of the ports of each pod, by its address and account."""
    return {(ip, each): made.own_ports([ip], name(each)) for ip in map(parse_ip, IPS) for each in NAMES}


class OrderTests(SynchronousTestCase):
    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.tuples(OBJECTS, flags), max_size=25), st.randoms(use_true_random=False))
    def test_it_is_what_a_cluster_made_anew_is_and_tells_what_changes(
        self, steps: Sequence[tuple[Kept, bool]], random: st.randoms
    ) -> None:
        there: dict[Key, Kept] = {}
        made = cluster()
        for each, stays in steps:
            key = (type(each), each.key)
            answers, own = [made.answer(address) for address in UNIVERSE], owns(made)
            changed = made.apply(there.get(key), each if stays else None)
            for before, address in zip(answers, UNIVERSE, strict=True):
                if made.answer(address) != before:
                    self.assertIn(address.ip, changed)
            for (ip, account), told in owns(made).items():
                if told != own[ip, account]:
                    self.assertIn(ip, changed)
            if stays:
                there[key] = each
            else:
                there.pop(key, None)
        anew = cluster()
        left = list(there.values())
        random.shuffle(left)
        for each in left:
            anew.apply(None, each)
        self.assertEqual(made.ranges, anew.ranges)
        for address in UNIVERSE:
            self.assertEqual(made.answer(address), anew.answer(address))
        self.assertEqual(owns(made), owns(anew))
