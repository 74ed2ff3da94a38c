"""Which addresses are whose, as far as the API tells, and where the mesh is to be asked.

Nodes put addresses of their own in a client's place: the node's own ones, those of tunnels, and in a node's pod
network the first two, which are the bridge's and the tunnel device's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

from meshtx.directory.ranges import Networks
from meshtx.kube.objects import Node, ServiceNetwork
from meshtx.wire.address import IP
from meshtx.wire.network import Network

_AROUND = {4: 24, 6: 64}
"""Bits of the prefix of a network that stands for an address outside the mesh's networks, by version of IP."""

MOST_OUTSIDE = 1000
"""Such networks that are told; with more, everything is: who may make Services may name any addresses, and each sidecar
is sent what comes of it."""
_EVERYTHING = (ip_network("0.0.0.0/0"), ip_network("::/0"))


@dataclass(frozen=True, slots=True)
class ClusterRanges:
    """Networks, each tuple without overlap and in order.

    :param mesh: an address inside is to be asked for before it counts as unmeshed.
    :param nodes: see `meshtx.directory.ranges.Ranges`; so are the rest.
    """

    mesh: tuple[Network, ...] = ()
    nodes: tuple[Network, ...] = ()
    pods: tuple[Network, ...] = ()
    balancers: tuple[Network, ...] = ()


class RangeBook:
    """Keeps the ranges; making them anew costs a step for each node, and happens when one has changed.

    :param mesh: what is the mesh's in any case.
    :param balancers: where load balancers connect from.
    """

    def __init__(self, mesh: Iterable[Network], balancers: Iterable[Network]) -> None:
        self._mesh = tuple(mesh)
        self._inside = Networks(self._mesh)
        self._balancers = tuple(balancers)
        self._nodes: dict[str, Node] = {}
        self._services: dict[str, ServiceNetwork] = {}
        self._outside: Counter[Network] = Counter()
        """Networks around addresses of the mesh that are in none of its networks, and how many those are."""
        self._ranges: ClusterRanges | None = None

    @property
    def ranges(self) -> ClusterRanges:
        """The present ones."""
        if self._ranges is None:
            self._ranges = self._make()
        return self._ranges

    def put(self, item: Node | ServiceNetwork) -> None:
        """Take a node or a network of Services, known or not."""
        self._ranges = None
        if isinstance(item, Node):
            self._nodes[item.key] = item
        else:
            self._services[item.key] = item

    def remove(self, item: Node | ServiceNetwork) -> None:
        """Forget one."""
        self._ranges = None
        (self._nodes if isinstance(item, Node) else self._services).pop(item.key, None)

    def enter(self, ips: Iterable[IP]) -> None:
        """Note addresses of pods or Services, once for each that has one."""
        for network in self._around(ips):
            self._outside[network] += 1
            if self._outside[network] == 1 and len(self._outside) <= MOST_OUTSIDE + 1:
                self._ranges = None

    def leave(self, ips: Iterable[IP]) -> None:
        """Take back what `enter` was given."""
        for network in self._around(ips):
            self._outside[network] -= 1
            if not self._outside[network]:
                del self._outside[network]
                if len(self._outside) <= MOST_OUTSIDE:
                    self._ranges = None

    def _around(self, ips: Iterable[IP]) -> list[Network]:
        return [ip_network((ip, _AROUND[ip.version]), strict=False) for ip in ips if ip not in self._inside]

    def _make(self) -> ClusterRanges:
        pods = [network for node in self._nodes.values() for network in node.pod_networks]
        services = [network for each in self._services.values() for network in each.networks]
        outside = self._outside if len(self._outside) <= MOST_OUTSIDE else _EVERYTHING
        return ClusterRanges(
            mesh=_collapsed([*self._mesh, *pods, *services, *outside]),
            nodes=_collapsed(network for node in self._nodes.values() for network in _node(node)),
            pods=_collapsed(pods),
            balancers=_collapsed(self._balancers),
        )


def _node(node: Node) -> Iterator[Network]:
    for ip in node.ips:
        yield ip_network(ip)
    for network in node.pod_networks:
        for number in range(min(2, network.num_addresses)):
            yield ip_network(network.network_address + number)


def _collapsed(networks: Iterable[Network]) -> tuple[Network, ...]:
    every = tuple(networks)
    v4 = collapse_addresses(each for each in every if isinstance(each, IPv4Network))
    v6 = collapse_addresses(each for each in every if isinstance(each, IPv6Network))
    return (*v4, *v6)
