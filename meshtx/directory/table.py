"""Who is where: from an address to the workload behind it, by longest prefix.

find(10.1.7.9:80) ─▶ /32? /24? /16?  one look-up a prefix length in use
                        └▶ Entry ─▶ Target
"""

from __future__ import annotations

from dataclasses import dataclass

from meshtx.directory.ranges import Ranges
from meshtx.directory.target import Meshed, PortFacts, Target
from meshtx.observe.flow import NoTls, NoTlsReason
from meshtx.pki.name import Name
from meshtx.wire.address import IP, Address
from meshtx.wire.network import Network

Ports = frozenset[int]


@dataclass(frozen=True, slots=True)
class Entry:
    """One workload.

    :param name: the identity that its proxy proves; ``None``: it is known and not meshed.
    :param inbound_port: where its proxy takes mutual TLS.
    :param opaque: ports whose bytes are not to be looked at.
    :param skip: ports that its proxy does not take part in.
    """

    name: Name | None
    authority: str
    inbound_port: int
    opaque: Ports
    skip: Ports


class Table:
    """A whole answer: an address that no entry holds is not meshed.

    :param opaque: such ports of every workload.
    :param skip_inbound: ports that no workload's proxy takes part in.
    :param skip_outbound: ports that are plaintext wherever they are.
    :param ranges: whose addresses are whose, beside the entries.
    """

    def __init__(
        self,
        opaque: Ports = frozenset(),
        skip_inbound: Ports = frozenset(),
        skip_outbound: Ports = frozenset(),
        ranges: Ranges | None = None,
    ) -> None:
        self.ranges = ranges or Ranges()
        self._opaque = opaque
        self._skip_inbound = skip_inbound
        self._skip_outbound = skip_outbound
        self._entries: dict[int, dict[int, dict[int, Entry]]] = {4: {}, 6: {}}
        """IP version, then bits behind the prefix (fewest first), then the prefix as a number."""
        self._size = 0

    def __len__(self) -> int:
        """Return the number of addresses and networks in the table."""
        return self._size

    def add(self, network: Network, entry: Entry) -> bool:
        """Put a workload behind a network; return False, and leave all as it was, if one is there."""
        free = network.max_prefixlen - network.prefixlen
        entries = self._entries[network.version]
        if free not in entries:
            entries[free] = {}
            self._entries[network.version] = entries = dict(sorted(entries.items()))
        if entries[free].setdefault(int(network.network_address) >> free, entry) is not entry:
            return False
        self._size += 1
        return True

    def find(self, destination: Address) -> Target:
        """Return where a connection to this address goes and how."""
        entry = self._behind(destination.ip)
        security: Meshed | NoTls
        if destination.port in self._skip_outbound or self._skipped(entry, destination.port):
            security = NoTls(NoTlsReason.PORT_SKIPPED)
        elif entry is None or entry.name is None:
            security = NoTls(NoTlsReason.NOT_DISCOVERED)
        else:
            security = Meshed(entry.name, Address(destination.ip, entry.inbound_port))
        return Target(destination, entry.authority if entry else "", security, self._is_opaque(entry, destination.port))

    def own_port(self, address: Address) -> PortFacts:
        """Return what is known of a port of the workload that asks.

        That is nothing of what hides clients: it would be a Service of a cluster, and a file that knew of it would be
        out of date as soon as somebody follows the advice to change it.
        """
        entry = self._behind(address.ip)
        return PortFacts(self._is_opaque(entry, address.port), self._skipped(entry, address.port))

    def _behind(self, ip: IP) -> Entry | None:
        number = int(ip)
        for free, entries in self._entries[ip.version].items():
            if entry := entries.get(number >> free):
                return entry
        return None

    def _skipped(self, entry: Entry | None, port: int) -> bool:
        return port in self._skip_inbound or (entry is not None and port in entry.skip)

    def _is_opaque(self, entry: Entry | None, port: int) -> bool:
        return port in self._opaque or (entry is not None and port in entry.opaque)
