"""Which balancers say whom they connect for: declared by address and port, believed nowhere else.

`sends_header` is all the trust there is: what comes from another address, or to another port, is the client's own
bytes even if it looks like a PROXY header, and so is what comes behind a declared balancer's header.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from meshtx.wire.address import IP
from meshtx.wire.network import Network, parse_network
from meshtx.wire.ports import PortRange


@dataclass(frozen=True, slots=True)
class Balancer:
    """Balancers that send a PROXY header: their addresses, and the ports to which they do."""

    network: Network
    ports: PortRange

    @classmethod
    def parse(cls, text: str) -> Balancer:
        """Read ``CIDR=PORT`` or ``CIDR=PORT-PORT``; an address alone is a network of one.

        :raises ValueError: it is neither.
        """
        network, equals, ports = text.partition("=")
        if not equals:
            raise ValueError(f"{text!r} has no '=' and no port behind it")
        return cls(parse_network(network.strip()), PortRange.parse(ports.strip()))

    def __str__(self) -> str:
        return f"{self.network}={self.ports}"


def sends_header(balancers: Collection[Balancer], peer: IP, port: int) -> bool:
    """Tell whether a peer is declared to begin its connections to a port with a PROXY header.

    :param peer: the other end of the TCP connection itself.
    :param port: as the balancer knows it: the workload's, or that of an explicit outbound listener.
    """
    return bool(balancers) and any(port in each.ports and peer in each.network for each in balancers)
