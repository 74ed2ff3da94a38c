"""What inbound and outbound share: everything that a connection may need, made once by the service."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field

from twisted.internet.interfaces import IReactorTime, ITCPTransport

from meshtx.directory.ranges import Ranges
from meshtx.interfaces import IDirectory
from meshtx.net.dial import Dialler
from meshtx.observe.flows import Flows
from meshtx.pki.name import Name
from meshtx.proxy.balancers import Balancer
from meshtx.proxy.early import EarlyDials
from meshtx.proxy.ends import Live
from meshtx.proxy.introduction import Introductions
from meshtx.proxy.limits import Limits
from meshtx.proxy.mesh_tls import MeshTls
from meshtx.proxy.peer import Peers
from meshtx.proxy.policy import Policy
from meshtx.proxy.served_legs import ServedLegs
from meshtx.proxy.source import Source, classify
from meshtx.wire.address import IP, Address
from meshtx.wire.proxy_header import ProxyHeader


@dataclass(frozen=True, slots=True)
class Patience:
    """How long things are waited for, in seconds."""

    handshake: float = 10.0
    """A TLS handshake, a begun ClientHello, a balancer's PROXY header, the transport header behind a handshake."""
    directory: float = 5.0
    """The directory's answer."""
    settle: float = 0.02
    """How long no leg to a peer in use has been idle before another is opened."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The rooms' objects that serve every connection.

    :param own_ports: ports of this proxy, which are no destination for anybody's connection.
    :param peers: the other proxies, and the legs to them.
    :param served: the legs from them.
    :param limits: what accepted connections may cost before they have said and proved what they want.
    :param early: the connections to the workload that are made before their clients have said what they want.
    :param balancers: who begins connections with a PROXY header.
    :param introductions: to which ports of the workload clients are introduced by one.
    :param ranges: whose addresses are whose, beside what the directory knows.
    :param gateways: the names that carry others' connections, and are believed whose.
    """

    clock: IReactorTime
    live: Live
    flows: Flows
    directory: IDirectory
    dialler: Dialler
    tls: MeshTls
    peers: Peers
    served: ServedLegs
    policy: Policy
    own_ports: Set[int]
    limits: Limits
    early: EarlyDials
    patience: Patience = Patience()
    balancers: tuple[Balancer, ...] = ()
    introductions: Introductions = field(default_factory=Introductions)
    ranges: Ranges = field(default_factory=Ranges)
    gateways: frozenset[Name] = frozenset()

    def source(self, peer: Address, local: IP, port: int, header: ProxyHeader | None = None) -> Source:
        """Return where a connection comes from that others than the workload make.

        :param local: the workload's address to which they have connected, and its port there.
        :param header: of a declared balancer.
        """
        source = classify(peer, (self.ranges, self.directory.ranges), header)
        if not source.hidden:
            return source
        return source.explained(self.directory.own_port(Address(local, port)).hidden_by)


Ends = tuple[Address, Address]
"""The peer's address and our own."""


def endpoints(transport: ITCPTransport) -> Ends:
    """Return the peer's address and our own of a connection."""
    peer, host = transport.getPeer(), transport.getHost()
    return Address.of(peer.host, peer.port), Address.of(host.host, host.port)
