"""Which addresses are whose: nodes, pods, balancers. Evidence of where a connection comes from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from meshtx.wire.address import IP
from meshtx.wire.network import Network


class Networks:
    """A set of networks; asking costs one step for each prefix length in use, however many there are."""

    __slots__ = ("_prefixes",)

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        self._prefixes: dict[tuple[int, int], set[int]] = {}
        """By IP version and bits behind the prefix: the prefixes as numbers."""
        for network in networks:
            free = network.max_prefixlen - network.prefixlen
            self._prefixes.setdefault((network.version, free), set()).add(int(network.network_address) >> free)

    def __contains__(self, ip: IP) -> bool:
        number = int(ip)
        return any(
            version == ip.version and number >> free in prefixes for (version, free), prefixes in self._prefixes.items()
        )

    def __bool__(self) -> bool:
        return bool(self._prefixes)


@dataclass(frozen=True, slots=True, eq=False)  # its networks are compared by which they are: so is it, and quicker
class Ranges:
    """The networks that are known; empty: nothing is known of such addresses.

    :param nodes: of machines, whose kernel translates addresses: their own, those of bridges and of tunnels.
    :param pods: of workloads.
    :param balancers: of machines in front, that connect for others or ask whether somebody is there.
    """

    nodes: Networks = field(default_factory=Networks)
    pods: Networks = field(default_factory=Networks)
    balancers: Networks = field(default_factory=Networks)
