"""Where a connection comes from that others than the workload make, by its own evidence, and what follows from it.

===============================  ============  ============  ===========  ======
the TCP peer is                  known         it stands     a hello for  silent
                                               for           us may come  it is
===============================  ============  ============  ===========  ======
a declared balancer, and its     proxy_header  who the       no           a client
header tells a client                          header tells
one whose header tells none      obscured      itself        no           a probe
an address of a balancer         obscured      itself        no           a probe
an address of a node             obscured      itself        no           a probe
an address of a pod              direct        itself        yes          a client
another, where pods are known    direct        itself        no           a client
another, where none are known    direct        itself        yes          a client
a gateway, proved by TLS         mesh          who its OPEN  it has come  a client
                                               tells
one whose OPEN says that it      obscured      who its OPEN  it has come  a client
does not know                                  tells
===============================  ============  ============  ===========  ======

Read a row as: "The peer is an address of a node. So the client is obscured, for the node's kernel has put its own
address there, or something on the node is asking whether the workload is up. No ClientHello for us is to be
expected, so the workload may speak at once. If it stays silent it was a probe: a counter, and no line in the log."

A hello that comes although none was expected is ours all the same: the row says only that nobody waits for it. Policy
sees the name that TLS proved and nothing of this: an address lets nobody in. The workload, where it asks
who is connecting, is told whom the connection stands for. A node or a balancer inside a network of pods counts as
what it is. A TCP peer that is declared counts by its header whatever its address.

What the directory says of a Service that hides the clients of a port is shown with a connection to that port from an
address of a node or a balancer, so that somebody can mend it. It is evidence of nothing, and changes no row: also
where no Service hides its clients, a node's address says nothing of who is behind it.

A gateway is a proxy whose explicit listeners are reached by others than its workload: it reads the same table, and its
OPEN tells the next proxy whom the connection stands for, and how that is known.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache

from meshtx.directory.ranges import Ranges
from meshtx.observe.flow import Known
from meshtx.pki.name import Name
from meshtx.wire.address import IP, Address
from meshtx.wire.leg_frames import Open
from meshtx.wire.proxy_header import ProxyHeader

__all__ = ["Evidence", "Known", "Source", "classify", "of_leg"]


@dataclass(frozen=True, slots=True)
class _Row:
    known: Known
    may_be_meshed: bool
    probes: bool


class Evidence(Enum):
    """What speaks for where a connection comes from: the rows of the table."""

    __hash__ = object.__hash__  # that of Enum is Python code

    HEADER_OF_A_CLIENT = "header_of_a_client"
    HEADER_OF_NOBODY = "header_of_nobody"
    BALANCER = "balancer"
    NODE = "node"
    POD = "pod"
    OUTSIDE = "outside"
    ANYBODY = "anybody"
    GATEWAY = "gateway"
    GATEWAY_OF_NOBODY = "gateway_of_nobody"


TABLE = {
    Evidence.HEADER_OF_A_CLIENT: _Row(Known.PROXY_HEADER, may_be_meshed=False, probes=False),
    Evidence.HEADER_OF_NOBODY: _Row(Known.OBSCURED, may_be_meshed=False, probes=True),
    Evidence.BALANCER: _Row(Known.OBSCURED, may_be_meshed=False, probes=True),
    Evidence.NODE: _Row(Known.OBSCURED, may_be_meshed=False, probes=True),
    Evidence.POD: _Row(Known.DIRECT, may_be_meshed=True, probes=False),
    Evidence.OUTSIDE: _Row(Known.DIRECT, may_be_meshed=False, probes=False),
    Evidence.ANYBODY: _Row(Known.DIRECT, may_be_meshed=True, probes=False),
    Evidence.GATEWAY: _Row(Known.MESH, may_be_meshed=True, probes=False),
    Evidence.GATEWAY_OF_NOBODY: _Row(Known.OBSCURED, may_be_meshed=True, probes=False),
}

_STANDS_FOR_OTHERS = {Evidence.BALANCER, Evidence.NODE}


@dataclass(frozen=True, slots=True)
class Source:
    """Where a connection comes from.

    :param peer: the other end of the TCP connection.
    :param client: whom it stands for, as far as that is known.
    :param hidden_by: the Service, ``NAMESPACE/NAME``, that hides clients of the port to which the peer has connected;
        empty: none is known, or the client is not hidden.
    """

    peer: Address
    client: Address
    evidence: Evidence
    hidden_by: str = ""

    @property
    def known(self) -> Known:
        """How the client is known."""
        return TABLE[self.evidence].known

    @property
    def may_be_meshed(self) -> bool:
        """A ClientHello for us is to be expected."""
        return TABLE[self.evidence].may_be_meshed

    @property
    def probes(self) -> bool:
        """A connection from there that says nothing asks only whether the workload is there."""
        return TABLE[self.evidence].probes

    @property
    def hidden(self) -> bool:
        """The peer's address is one that stands for others, so that a Service may be what hides the client."""
        return self.evidence in _STANDS_FOR_OTHERS

    def explained(self, hidden_by: str) -> Source:
        """Return the same with what hides the client."""
        return replace(self, hidden_by=hidden_by)


def classify(peer: Address, ranges: tuple[Ranges, ...], header: ProxyHeader | None = None) -> Source:
    """Return where a connection comes from.

    :param ranges: whose addresses are whose, by whoever knows something.
    :param header: of a declared balancer; ``None`` where none is declared.
    """
    if header is None:
        return Source(peer, peer, _evidence(peer.ip, ranges))
    if header.source is None:
        return Source(peer, peer, Evidence.HEADER_OF_NOBODY)
    return Source(peer, header.source, Evidence.HEADER_OF_A_CLIENT)


@lru_cache(maxsize=1024)
def _evidence(ip: IP, ranges: tuple[Ranges, ...]) -> Evidence:
    if any(ip in each.nodes for each in ranges):
        return Evidence.NODE
    if any(ip in each.balancers for each in ranges):
        return Evidence.BALANCER
    if any(ip in each.pods for each in ranges):
        return Evidence.POD
    return Evidence.OUTSIDE if any(each.pods for each in ranges) else Evidence.ANYBODY


def of_leg(peer: Source, proved: Name, request: Open, gateways: Collection[Name]) -> Source:
    """Return where a connection on a leg comes from.

    What a peer tells is believed of its own address, for its proxy and its workload share that; of another only if
    it proved to be a gateway. A loopback address is nobody's elsewhere: the gateway's own workload has connected.

    :param peer: where the leg comes from.
    :param gateways: the names that carry others' connections.
    """
    told = request.source
    if told is not None and told.ip == peer.peer.ip and not (gateways and proved in gateways):
        return Source(peer.peer, told, peer.evidence, peer.hidden_by)
    if told is None or (told.ip.is_loopback and not peer.peer.ip.is_loopback):
        return peer
    if proved in gateways:
        obscured = request.source_known == Known.OBSCURED
        return Source(peer.peer, told, Evidence.GATEWAY_OF_NOBODY if obscured else Evidence.GATEWAY)
    return peer
