"""What the directory keeps of Kubernetes' objects: values, read from the API's JSON.

Only what is used is kept, for there may be many. What a user may write wrongly, such as an annotation, is passed over
where it makes no sense: one object's mistake must not hide the others.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from meshtx.kube.annotations import CONTROL_PLANE, OPAQUE, SKIP_INBOUND
from meshtx.kube.pod_settings import PREFIX
from meshtx.kube.ports import Ports, parse_ports
from meshtx.kube.sidecar import PROXY
from meshtx.kube.workloads import workloads_of
from meshtx.wire.address import IP, parse_ip
from meshtx.wire.network import Network, parse_network

Json = Mapping[str, Any]
"""An object as the API has it (`Any`: JSON)."""

MOST_HOST_PORTS = 1000
"""Ports of its node that are read of a pod: its author may name tens of thousands, and each is kept."""

MOST_OTHERS = 100
"""External addresses of a Service that are read: its author may name 100,000, and each costs as much as a pod's."""

_FROM_OUTSIDE = {"LoadBalancer", "NodePort"}

_LIVE_PHASES = {"Pending", "Running"}
"""A pod that has ended keeps its address in the API while another one may have it."""

_TUNNELS = (
    "projectcalico.org/IPv4Address",
    "projectcalico.org/IPv4VXLANTunnelAddr",
    "projectcalico.org/IPv4IPIPTunnelAddr",
    "projectcalico.org/IPv6Address",
    "projectcalico.org/IPv6VXLANTunnelAddr",
    "network.cilium.io/ipv4-cilium-host",
    "network.cilium.io/ipv6-cilium-host",
)
"""Annotations in which network plugins say which addresses their bridges and tunnels have on a node."""


@dataclass(frozen=True, slots=True)
class HostPort:
    """A port of a node that leads to one of a pod.

    :param ips: the node's addresses where it does.
    """

    ips: tuple[IP, ...]
    port: int
    target: int


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod.

    :param live: it has not ended.
    :param deleting: its end is asked for.
    :param started: when, in RFC 3339 and UTC, which sorts as text; empty while it has not.
    :param meshed_by: the namespace of the control plane that has given it a proxy; empty: none has.
    :param opaque: ports whose bytes are not to be looked at; ``None``: nothing is said of it.
    :param skip: ports that its proxy does not take part in.
    :param workloads: what it belongs to, each as the API writes it: ``deployments/web``.
    """

    namespace: str
    name: str
    ips: tuple[IP, ...]
    host_network: bool
    live: bool
    deleting: bool
    started: str
    meshed_by: str
    account: str
    opaque: Ports | None
    skip: Ports
    host_ports: tuple[HostPort, ...]
    workloads: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Namespace and name."""
        return f"{self.namespace}/{self.name}"

    @classmethod
    def read(cls, json: Json) -> Pod:
        """Return what is kept of a ``v1`` Pod."""
        metadata, spec, status = json["metadata"], json.get("spec") or {}, json.get("status") or {}
        annotations = metadata.get("annotations") or {}
        containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
        named = {port["name"]: port["containerPort"] for port in _container_ports(containers) if port.get("name")}
        opaque = annotations.get(PREFIX + OPAQUE)
        meshed = any(each.get("name") == PROXY for each in containers)
        return cls(
            namespace=sys.intern(metadata["namespace"]),
            name=metadata["name"],
            ips=_ips(each.get("ip") for each in status.get("podIPs") or [{"ip": status.get("podIP")}]),
            host_network=bool(spec.get("hostNetwork")),
            live=status.get("phase", "Pending") in _LIVE_PHASES,
            deleting="deletionTimestamp" in metadata,
            started=status.get("startTime") or "",
            meshed_by=sys.intern((metadata.get("labels") or {}).get(CONTROL_PLANE, "") if meshed else ""),
            account=sys.intern(spec.get("serviceAccountName") or "default"),
            opaque=None if opaque is None else parse_ports(opaque, named),
            skip=parse_ports(annotations.get(PREFIX + SKIP_INBOUND, ""), named),
            host_ports=_host_ports(containers, status),
            workloads=tuple(sys.intern(each) for each in workloads_of(metadata)),
        )


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One TCP port of a Service.

    :param name: empty where it is the only one and has none.
    :param target: the port behind it, where it is given as a number.
    """

    name: str
    port: int
    target: int | None


@dataclass(frozen=True, slots=True)
class Service:
    """A Service.

    :param cluster_ips: empty where it is headless, or only another name of something.
    :param others: addresses that the nodes lead to its endpoints, beside those: external ones and of balancers.
    :param hides: see `hides_clients`.
    """

    namespace: str
    name: str
    cluster_ips: tuple[IP, ...]
    others: tuple[IP, ...]
    ports: tuple[ServicePort, ...]
    hides: bool = False

    @property
    def key(self) -> str:
        """Namespace and name."""
        return f"{self.namespace}/{self.name}"

    @property
    def ips(self) -> tuple[IP, ...]:
        """All addresses, each once: one's own may be named as an external one as well."""
        return tuple(dict.fromkeys(self.cluster_ips + self.others))

    @classmethod
    def read(cls, json: Json) -> Service:
        """Return what is kept of a ``v1`` Service."""
        metadata, spec = json["metadata"], json.get("spec") or {}
        ingress = ((json.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
        balancers = [each.get("ip") for each in ingress if each.get("ipMode", "VIP") == "VIP"]
        cluster_ips = _ips(spec.get("clusterIPs") or [spec.get("clusterIP")])
        others = [*balancers, *(spec.get("externalIPs") or ())] if cluster_ips else []  # else nodes take none of them
        return cls(
            namespace=sys.intern(metadata["namespace"]),
            name=metadata["name"],
            cluster_ips=cluster_ips,
            others=_ips(others[:MOST_OTHERS]),
            ports=tuple(
                ServicePort(port.get("name") or "", port["port"], _port(port.get("targetPort")))
                for port in spec.get("ports") or ()
                if _is_tcp(port)
            ),
            hides=hides_clients(json),
        )


def hides_clients(service: Json) -> bool:
    """Say whether nodes put their own address in the place of clients' that come to a ``v1`` Service from outside.

    They do under the `externalTrafficPolicy` that is the default, for any of them may hand a connection to another.
    """
    policy = (service.get("spec") or {}).get("externalTrafficPolicy", "Cluster")
    return comes_from_outside(service) and policy == "Cluster"


def comes_from_outside(service: Json) -> bool:
    """Say whether nodes or a balancer bring clients from outside the cluster to a ``v1`` Service."""
    spec = service.get("spec") or {}
    return spec.get("type") in _FROM_OUTSIDE or bool(spec.get("externalIPs"))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Something behind a Service.

    :param pod: its key; empty where it is no pod.
    """

    ips: tuple[IP, ...]
    ready: bool
    serving: bool
    terminating: bool
    pod: str


@dataclass(frozen=True, slots=True)
class Slice:
    """Some of the endpoints behind one Service: an EndpointSlice.

    :param service: the Service's key; empty: it is nobody's.
    :param ports: by name; ``None``: all of them.
    """

    namespace: str
    name: str
    service: str
    ports: tuple[tuple[str, int | None], ...]
    endpoints: tuple[Endpoint, ...]

    @property
    def key(self) -> str:
        """Namespace and name."""
        return f"{self.namespace}/{self.name}"

    @classmethod
    def read(cls, json: Json) -> Slice:
        """Return what is kept of a ``discovery.k8s.io/v1`` EndpointSlice."""
        metadata = json["metadata"]
        namespace = sys.intern(metadata["namespace"])
        service = (metadata.get("labels") or {}).get("kubernetes.io/service-name")
        return cls(
            namespace=namespace,
            name=metadata["name"],
            service=sys.intern(f"{namespace}/{service}") if service else "",
            ports=tuple(
                (port.get("name") or "", port.get("port")) for port in json.get("ports") or () if _is_tcp(port)
            ),
            endpoints=tuple(_endpoint(each, namespace) for each in json.get("endpoints") or ()),
        )


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the cluster.

    :param ips: its own addresses, and those of tunnels and bridges that its network plugin tells.
    """

    name: str
    ips: tuple[IP, ...]
    pod_networks: tuple[Network, ...]

    @property
    def key(self) -> str:
        """Its name."""
        return self.name

    @classmethod
    def read(cls, json: Json) -> Node:
        """Return what is kept of a ``v1`` Node."""
        metadata, spec = json["metadata"], json.get("spec") or {}
        annotations = metadata.get("annotations") or {}
        own = [
            each.get("address")
            for each in (json.get("status") or {}).get("addresses") or ()
            if each.get("type") in {"InternalIP", "ExternalIP"}
        ]
        tunnels = [annotations[each].partition("/")[0] for each in _TUNNELS if each in annotations]
        return cls(
            name=metadata["name"],
            ips=_ips([*own, *tunnels]),
            pod_networks=_networks(spec.get("podCIDRs") or [spec.get("podCIDR")]),
        )


@dataclass(frozen=True, slots=True)
class ServiceNetwork:
    """Networks that Services have their addresses from: a ServiceCIDR."""

    name: str
    networks: tuple[Network, ...]

    @property
    def key(self) -> str:
        """Its name."""
        return self.name

    @classmethod
    def read(cls, json: Json) -> ServiceNetwork:
        """Return what is kept of a ``networking.k8s.io/v1`` ServiceCIDR."""
        return cls(json["metadata"]["name"], _networks((json.get("spec") or {}).get("cidrs") or ()))


Kept = Pod | Service | Slice | Node | ServiceNetwork


def _container_ports(containers: Iterable[Json]) -> list[Json]:
    return [port for container in containers for port in container.get("ports") or () if _is_tcp(port)]


def _host_ports(containers: Iterable[Json], status: Json) -> tuple[HostPort, ...]:
    """Return the node's ports that lead to a pod; an address that the node does not have leads nowhere."""
    every = _ips([each.get("ip") for each in status.get("hostIPs") or ()] or [status.get("hostIP")])
    ports = []
    for port in [port for port in _container_ports(containers) if port.get("hostPort")][:MOST_HOST_PORTS]:
        wanted = _ips([port.get("hostIP")])
        ips = every if not wanted or wanted[0].is_unspecified else tuple(each for each in every if each in wanted)
        if ips:
            ports.append(HostPort(ips, port["hostPort"], port["containerPort"]))
    return tuple(ports)


def _endpoint(json: Json, namespace: str) -> Endpoint:
    conditions, target = json.get("conditions") or {}, json.get("targetRef") or {}
    ready = _or(conditions.get("ready"), default=True)
    pod = f"{target.get('namespace') or namespace}/{target.get('name')}" if target.get("kind") == "Pod" else ""
    return Endpoint(
        ips=_ips(json.get("addresses") or ()),
        ready=ready,
        serving=_or(conditions.get("serving"), default=ready),
        terminating=_or(conditions.get("terminating"), default=False),
        pod=pod,
    )


def _or(value: bool | None, *, default: bool) -> bool:
    return default if value is None else value


def _is_tcp(port: Json) -> bool:
    return port.get("protocol", "TCP") == "TCP"


def _port(value: object) -> int | None:
    number = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value
    return number if isinstance(number, int) and 0 < number <= 65535 else None


def _ips(texts: Iterable[str | None]) -> tuple[IP, ...]:
    """Return the addresses among these; ``None`` (as a Service's ClusterIP it is a text, too) is none."""
    found = []
    for text in texts:
        try:
            found.append(parse_ip(text or ""))
        except ValueError:
            continue
    return tuple(dict.fromkeys(found))


def _networks(texts: Iterable[str | None]) -> tuple[Network, ...]:
    found = []
    for text in texts:
        try:
            found.append(parse_network(text or ""))
        except ValueError:
            continue
    return tuple(found)
