"""Which balancers say whom they connect for: declared by address and port, believed nowhere else.

`sends_header` is all the trust there is: what comes from another address, or to another port, is the client's own
bytes even if it looks like a PROXY header, and so is what comes behind a declared balancer's header.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from meshtx.wire.address import IP


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports from the first to the last."""

    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> PortRange:
        """Read ``8080`` or ``8000-8010``.

        :raises ValueError: it is neither.
        """
        first, dash, last = text.partition("-")
        ends = (first, last if dash else first)
        if not all(end.isascii() and end.isdigit() for end in ends):
            raise ValueError(f"{text!r} is neither a port nor two with a '-'")
        low, high = (int(end) for end in ends)
        if not 0 < low <= high <= 65535:
            raise ValueError(f"{text!r} is no range within 1-65535")
        return cls(low, high)

    def __contains__(self, port: int) -> bool:
        return self.first <= port <= self.last

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class Balancer:
    """Balancers that send a PROXY header: their addresses, and the ports to which they do."""

    network: IPv4Network | IPv6Network
    ports: PortRange

    @classmethod
    def parse(cls, text: str) -> Balancer:
        """Read ``CIDR=PORT`` or ``CIDR=PORT-PORT``; an address alone is a network of one.

        :raises ValueError: it is neither.
        """
        network, equals, ports = text.partition("=")
        if not equals:
            raise ValueError(f"{text!r} has no '=' and no port behind it")
        parsed = ip_network(network.strip())
        if parsed.version == 6 and parsed.network_address.ipv4_mapped is not None:
            raise ValueError(f"{network.strip()!r}: write an IPv4-mapped network as IPv4")
        return cls(parsed, PortRange.parse(ports.strip()))

    def __str__(self) -> str:
        return f"{self.network}={self.ports}"


def sends_header(balancers: Collection[Balancer], peer: IP, port: int) -> bool:
    """Tell whether a peer is declared to begin its connections to a port with a PROXY header.

    :param peer: the other end of the TCP connection itself.
    :param port: as the balancer knows it: the workload's, or that of an explicit outbound listener.
    """
    return bool(balancers) and any(port in each.ports and peer in each.network for each in balancers)
