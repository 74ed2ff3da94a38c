"""The messages of the directory's service, and the values that they stand for (docs/directory.md). No I/O.

What does not make sense is `BadMessage`, never a default: a workload that nobody described would be plaintext.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Network, ip_address, ip_network

from meshtx.directory.ranges import Networks, Ranges
from meshtx.directory.target import Meshed, PortFacts, Target
from meshtx.errors import PeerError
from meshtx.observe.flow import NoTls, NoTlsReason
from meshtx.pki.name import InvalidName, Name
from meshtx.rpc.messages import directory_pb2
from meshtx.wire.address import IP, Address, parse_ip
from meshtx.wire.leg_frames import is_authority
from meshtx.wire.network import Network

Ports = frozenset[int]

_ORDINARY = PortFacts()


class BadMessage(PeerError):
    """The directory says what cannot be."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a sidecar is told first, whole.

    :param mesh: where an address is asked for before it counts as unmeshed; ``None``: everywhere.
    :param opaque: the own workload's ports whose bytes are not to be looked at.
    :param skipped: those that its proxy does not take part in.
    :param hidden: those to which others come by way of a Service that hides them, and that Service.
    """

    mesh: Networks | None
    ranges: Ranges
    opaque: Ports
    skipped: Ports
    hidden: Mapping[int, str]

    def holds(self, ip: IP) -> bool:
        """Say whether a workload may have this address."""
        return self.mesh is None or ip in self.mesh

    def own_port(self, port: int) -> PortFacts:
        """Return what is known of a port of the own workload."""
        if port in self.opaque or port in self.skipped or port in self.hidden:
            return PortFacts(port in self.opaque, port in self.skipped, self.hidden.get(port, ""))
        return _ORDINARY


@dataclass(frozen=True, slots=True)
class Several:
    """A service: any of these serves a connection to it."""

    ready: tuple[Target, ...]


Found = Target | Several
"""What is behind an address."""


def facts(message: directory_pb2.Table) -> Facts:
    """Return what a table says.

    :raises BadMessage: a network, a port or a range of ports is none.
    """
    return Facts(
        mesh=_networks(message.mesh_networks) if message.mesh_networks else None,
        ranges=Ranges(_networks(message.nodes), _networks(message.pods), _networks(message.balancers)),
        opaque=_ports(message.own_opaque),
        skipped=_ports(message.own_skip_inbound),
        hidden={_port(each.port): each.service for each in message.own_hidden},
    )


def session(message: directory_pb2.Table) -> str:
    """Return what the stream is called from now on.

    :raises BadMessage: it has no name.
    """
    if not message.session:
        raise BadMessage("a table without a session")
    return message.session


def endpoint(address: Address) -> directory_pb2.Endpoint:
    """Return the message for an address."""
    return directory_pb2.Endpoint(ip=address.ip.packed, port=address.port)


def address(message: directory_pb2.Endpoint) -> Address:
    """Return the address in a message; IPv4 inside IPv6 is IPv4.

    :raises BadMessage: it is none, or port 0.
    """
    return Address(_ip(message.ip), _port(message.port))


def found(message: directory_pb2.Answer) -> Found:
    """Return what an answer says.

    :raises BadMessage: it says nothing that is known here, or something is no address, port, name or authority.
    """
    if not is_authority(message.authority):  # no leg could be opened with it
        raise BadMessage(f"{message.authority!r} is no authority")
    match message.WhichOneof("what"):
        case "workload":
            return _target(message.workload, message.authority)
        case "service":
            return Several(tuple(_target(backend, message.authority) for backend in message.service.ready))
        case _:
            raise BadMessage("an answer that names neither a workload nor a service")


def _target(message: directory_pb2.Backend, authority: str) -> Target:
    where = address(message.address)
    return Target(where, authority, _security(message, where), message.opaque)


def _security(message: directory_pb2.Backend, where: Address) -> Meshed | NoTls:
    if message.skipped:
        return NoTls(NoTlsReason.PORT_SKIPPED)
    if not message.name:
        return NoTls(NoTlsReason.NOT_DISCOVERED)
    try:
        name = Name.parse(message.name)
    except InvalidName as error:
        raise BadMessage(f"{where}: {error}") from None
    return Meshed(name, Address(where.ip, _port(message.inbound_port)))


def _ip(packed: bytes) -> IP:
    try:
        return parse_ip(str(ip_address(packed)))
    except ValueError:
        raise BadMessage(f"{packed.hex() or 'nothing'} is no address") from None


def _port(port: int) -> int:
    if not 0 < port <= 65535:
        raise BadMessage(f"{port} is no port")
    return port


def _networks(messages: Iterable[directory_pb2.Network]) -> Networks:
    return Networks(_network(message) for message in messages)


def _network(message: directory_pb2.Network) -> Network:
    try:
        network = ip_network((message.ip, message.prefix))
    except ValueError as error:
        raise BadMessage(f"{message.ip.hex() or 'nothing'}/{message.prefix} is no network: {error}") from None
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped:
        raise BadMessage(f"{network} is IPv4 inside IPv6")
    return network


def _ports(messages: Iterable[directory_pb2.Ports]) -> Ports:
    ports: set[int] = set()
    for message in messages:
        if _port(message.last) < _port(message.first):
            raise BadMessage(f"{message.first}-{message.last} is no range of ports")
        ports.update(range(message.first, message.last + 1))
    return frozenset(ports)
