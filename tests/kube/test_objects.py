"""What is kept of the API's objects."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshtx.kube.objects import (
    MOST_HOST_PORTS,
    MOST_OTHERS,
    Endpoint,
    HostPort,
    Node,
    Pod,
    Service,
    ServiceNetwork,
    ServicePort,
    Slice,
    hides_clients,
)
from meshtx.wire.network import parse_network
from tests.kube.objects import ips

POD = {
    "metadata": {
        "name": "web-1",
        "namespace": "shop",
        "labels": {"meshtx.io/control-plane-ns": "meshtx"},
        "annotations": {
            "config.meshtx.io/opaque-ports": "db,7000-7001",
            "config.meshtx.io/skip-inbound-ports": "9100",
        },
    },
    "spec": {
        "serviceAccountName": "web",
        "initContainers": [{"name": "meshtx-proxy", "ports": [{"containerPort": 4143}]}],
        "containers": [
            {
                "name": "web",
                "ports": [
                    {"name": "db", "containerPort": 5432, "hostPort": 15432, "protocol": "TCP"},
                    {"name": "dns", "containerPort": 53, "hostPort": 53, "protocol": "UDP"},
                    {"containerPort": 80, "hostPort": 8080, "hostIP": "192.168.0.2"},
                    {"containerPort": 82, "hostPort": 8082, "hostIP": "192.0.2.1"},
                    {"containerPort": 81, "hostPort": 8081, "hostIP": "0.0.0.0"},
                ],
            }
        ],
    },
    "status": {
        "phase": "Running",
        "startTime": "2026-11-25T12:00:00Z",
        "podIP": "10.1.0.1",
        "podIPs": [{"ip": "10.1.0.1"}, {"ip": "fd00::1"}],
        "hostIP": "192.168.0.1",
        "hostIPs": [{"ip": "192.168.0.1"}, {"ip": "192.168.0.2"}],
    },
}


def changed(json: Any, **parts: dict[str, Any]) -> Any:
    """Return an object with other values in its parts; ``None`` takes one out."""
    return json | {
        part: {key: value for key, value in (json.get(part, {}) | values).items() if value is not None}
        for part, values in parts.items()
    }


class PodTests(SynchronousTestCase):
    def test_a_meshed_pod(self) -> None:
        node = ips("192.168.0.1", "192.168.0.2")
        self.assertEqual(
            Pod.read(POD),
            Pod(
                namespace="shop",
                name="web-1",
                ips=ips("10.1.0.1", "fd00::1"),
                host_network=False,
                live=True,
                deleting=False,
                started="2026-11-25T12:00:00Z",
                meshed_by="meshtx",
                account="web",
                opaque=(range(5432, 5433), range(7000, 7002)),
                skip=(range(9100, 9101),),
                host_ports=(
                    HostPort(node, 15432, 5432),
                    HostPort(ips("192.168.0.2"), 8080, 80),
                    HostPort(node, 8081, 81),
                ),
            ),
        )

    def test_a_port_of_an_address_that_its_node_does_not_have_is_none(self) -> None:
        port = {"containerPort": 5432, "hostPort": 5432, "hostIP": "10.200.0.5"}
        spec = {"containers": [{"name": "web", "ports": [port]}]}
        self.assertEqual(Pod.read(changed(POD, spec=spec)).host_ports, ())

    def test_ports_of_the_node_are_so_many_at_most(self) -> None:
        ports = [{"containerPort": port, "hostPort": port} for port in range(1, MOST_HOST_PORTS + 10)]
        spec = {**POD["spec"], "containers": [{"name": "app", "ports": ports}]}
        self.assertEqual(len(Pod.read(changed(POD, spec=spec)).host_ports), MOST_HOST_PORTS)

    def test_those_beyond_are_not_looked_at(self) -> None:
        """Else whoever changes such a pod again and again keeps the directory from everything else."""
        nowhere = [{"containerPort": 1, "hostPort": 1, "hostIP": "10.200.0.5"}] * MOST_HOST_PORTS
        ports = [*nowhere, {"containerPort": 2, "hostPort": 2}]
        spec = {**POD["spec"], "containers": [{"name": "app", "ports": ports}]}
        self.assertEqual(Pod.read(changed(POD, spec=spec)).host_ports, ())

    def test_one_of_which_nothing_is_known_yet(self) -> None:
        pod = Pod.read({"metadata": {"name": "web-1", "namespace": "shop"}})
        self.assertEqual(
            (pod.ips, pod.live, pod.started, pod.meshed_by, pod.account, pod.opaque, pod.skip, pod.host_ports),
            ((), True, "", "", "default", None, (), ()),
        )

    def test_the_label_alone_meshes_nobody(self) -> None:
        spec = {"initContainers": None, "containers": [{"name": "meshtx-proxyish"}]}
        self.assertEqual(Pod.read(changed(POD, spec=spec)).meshed_by, "")

    def test_a_proxy_among_the_containers_counts_as_well(self) -> None:
        spec = {"initContainers": None, "containers": [{"name": "web"}, {"name": "meshtx-proxy"}]}
        self.assertEqual(Pod.read(changed(POD, spec=spec)).meshed_by, "meshtx")

    def test_which_phases_are_those_of_a_pod_that_has_not_ended(self) -> None:
        phases = ("Pending", "Running", "Succeeded", "Failed", "Unknown")
        self.assertEqual(
            [Pod.read(changed(POD, status={"phase": phase})).live for phase in phases],
            [True, True, False, False, False],
        )

    def test_one_that_is_being_deleted(self) -> None:
        self.assertTrue(Pod.read(changed(POD, metadata={"deletionTimestamp": "2026-11-25T12:30:00Z"})).deleting)

    def test_one_on_its_nodes_network(self) -> None:
        self.assertTrue(Pod.read(changed(POD, spec={"hostNetwork": True})).host_network)

    def test_an_older_api_has_one_address(self) -> None:
        self.assertEqual(Pod.read(changed(POD, status={"podIPs": None})).ips, ips("10.1.0.1"))


SERVICE = {
    "metadata": {"name": "web", "namespace": "shop"},
    "spec": {
        "clusterIP": "10.96.0.1",
        "clusterIPs": ["10.96.0.1", "fd01::1"],
        "externalIPs": ["203.0.113.1"],
        "ports": [
            {"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"},
            {"name": "dns", "port": 53, "targetPort": 53, "protocol": "UDP"},
            {"name": "db", "port": 5432, "targetPort": "db"},
        ],
    },
    "status": {
        "loadBalancer": {
            "ingress": [
                {"ip": "203.0.113.2"},
                {"ip": "203.0.113.3", "ipMode": "VIP"},
                {"ip": "203.0.113.4", "ipMode": "Proxy"},
                {"hostname": "lb.example"},
            ]
        }
    },
}


class ServiceTests(SynchronousTestCase):
    def test_one_with_all_sorts_of_addresses(self) -> None:
        self.assertEqual(
            Service.read(SERVICE),
            Service(
                "shop",
                "web",
                ips("10.96.0.1", "fd01::1"),
                ips("203.0.113.2", "203.0.113.3", "203.0.113.1"),
                (ServicePort("http", 80, 8080), ServicePort("db", 5432, None)),
                hides=True,
            ),
        )

    def test_which_hide_clients_from_outside(self) -> None:
        for hides, spec in (
            (True, {"type": "LoadBalancer"}),
            (True, {"type": "NodePort", "externalTrafficPolicy": "Cluster"}),
            (True, {"type": "ClusterIP", "externalIPs": ["192.0.2.1"]}),
            (False, {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}),
            (False, {"type": "NodePort", "externalTrafficPolicy": "Local"}),
            (False, {"externalIPs": ["192.0.2.1"], "externalTrafficPolicy": "Local"}),
            (False, {"type": "ClusterIP"}),
            (False, {"type": "ExternalName", "externalName": "shop.example"}),
            (False, {}),
        ):
            json = {"metadata": SERVICE["metadata"], "spec": spec}
            self.assertEqual((hides_clients(json), Service.read(json).hides), (hides, hides), spec)

    def test_of_external_addresses_some_are_kept(self) -> None:
        many = [f"198.51.{number // 256}.{number % 256}" for number in range(5000)]
        json = {**SERVICE, "spec": {**SERVICE["spec"], "externalIPs": many}, "status": {}}
        self.assertEqual(len(Service.read(json).others), MOST_OTHERS)

    def test_those_beyond_are_not_looked_at(self) -> None:
        """To read 80,000 of them takes a sixth of a second, at each change of their Service."""
        many = ["198.51.100.1"] * MOST_OTHERS + ["198.51.100.2"]
        json = {**SERVICE, "spec": {**SERVICE["spec"], "externalIPs": many}, "status": {}}
        self.assertEqual(Service.read(json).others, ips("198.51.100.1"))

    def test_a_headless_one_and_another_name_have_no_address(self) -> None:
        for spec in ({"clusterIP": "None", "clusterIPs": ["None"]}, {"clusterIPs": None, "clusterIP": None}):
            self.assertEqual(Service.read(changed(SERVICE, spec=spec)).ips, ())


class SliceTests(SynchronousTestCase):
    def read(self, *endpoints: dict[str, Any], **values: Any) -> Slice:
        metadata = {"name": "web-abc", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}}
        return Slice.read({"metadata": metadata, "endpoints": list(endpoints)} | values)

    def test_its_service_and_its_ports(self) -> None:
        ports = [{"name": "http", "port": 80, "protocol": "TCP"}, {"name": "u", "port": 1, "protocol": "UDP"}, {}]
        self.assertEqual(
            self.read(ports=ports), Slice("shop", "web-abc", "shop/web", (("http", 80), ("", None)), endpoints=())
        )

    def test_without_ports_there_is_nothing(self) -> None:
        self.assertEqual(self.read(ports=None).ports, ())

    def test_what_is_not_said_of_an_endpoint(self) -> None:
        for conditions, (ready, serving, terminating) in (
            (None, (True, True, False)),
            ({"ready": None}, (True, True, False)),
            ({"ready": False}, (False, False, False)),
            ({"ready": False, "serving": True, "terminating": True}, (False, True, True)),
        ):
            made = self.read({"addresses": ["10.1.0.1"], "conditions": conditions}).endpoints
            self.assertEqual(made, (Endpoint(ips("10.1.0.1"), ready, serving, terminating, ""),), conditions)

    def test_its_pod(self) -> None:
        for target, key in (
            ({"kind": "Pod", "name": "web-1"}, "shop/web-1"),
            ({"kind": "Pod", "name": "web-1", "namespace": "other"}, "other/web-1"),
            ({"kind": "Node", "name": "node-1"}, ""),
        ):
            self.assertEqual(self.read({"addresses": ["10.1.0.1"], "targetRef": target}).endpoints[0].pod, key)

    def test_a_name_is_no_address(self) -> None:
        self.assertEqual(self.read({"addresses": ["example.org"]}, addressType="FQDN").endpoints[0].ips, ())

    def test_one_of_no_service(self) -> None:
        self.assertEqual(Slice.read({"metadata": {"name": "a", "namespace": "shop"}}).service, "")


class NodeTests(SynchronousTestCase):
    def test_its_addresses_those_of_its_tunnels_and_its_pods_networks(self) -> None:
        json = {
            "metadata": {
                "name": "node-1",
                "annotations": {
                    "projectcalico.org/IPv4Address": "192.168.0.1/24",
                    "projectcalico.org/IPv4VXLANTunnelAddr": "10.1.0.192",
                    "network.cilium.io/ipv4-cilium-host": "10.1.0.77",
                },
            },
            "spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24", "fd00::/64"]},
            "status": {
                "addresses": [
                    {"type": "InternalIP", "address": "192.168.0.1"},
                    {"type": "ExternalIP", "address": "203.0.113.9"},
                    {"type": "Hostname", "address": "node-1"},
                ]
            },
        }
        self.assertEqual(
            Node.read(json),
            Node(
                "node-1",
                ips("192.168.0.1", "203.0.113.9", "10.1.0.192", "10.1.0.77"),
                (parse_network("10.1.0.0/24"), parse_network("fd00::/64")),
            ),
        )

    def test_one_without_any(self) -> None:
        self.assertEqual(Node.read({"metadata": {"name": "node-1"}}), Node("node-1", (), ()))

    def test_the_networks_of_services(self) -> None:
        json = {"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.96.0.0/12", "nonsense"]}}
        self.assertEqual(ServiceNetwork.read(json), ServiceNetwork("kubernetes", (parse_network("10.96.0.0/12"),)))
