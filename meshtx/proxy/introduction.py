"""Who is connecting, told to the workload: a PROXY header of version 2 ahead of the client's bytes.

The address and the identity are what this proxy knows, never what a client says. Of a declared balancer's own TLVs
two are passed on, ALPN and authority. Specified in docs/proxy-protocol.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

from meshtx.observe.flow import Mtls, Security
from meshtx.wire.address import Address
from meshtx.wire.ports import PortRange
from meshtx.wire.proxy_header import ALPN, AUTHORITY, PEER_IDENTITY, TLV, encode_v2

MAX_VALUE = 255
"""Bytes of a TLV that is passed on; no name of a protocol (RFC 7301, section 3.1) or of a host is longer."""


class Extra(StrEnum):
    """What a header can have beside the addresses, as the configuration spells it."""

    ALPN = "alpn"
    """The client's application protocol, from a balancer that knows it."""
    AUTHORITY = "authority"
    """The host that the client asked for, from its proxy or from a balancer."""
    IDENTITY = "identity"
    """The name that the client proved."""


EVERYTHING = frozenset(Extra)


@dataclass(frozen=True, slots=True)
class Client:
    """Who is connecting.

    :param address: where it comes from, as far as that is known.
    :param destination: what it connected to.
    :param authority: the host that it asked for; may be empty.
    :param tlvs: what a declared balancer said beside the addresses.
    """

    address: Address
    destination: Address
    authority: str = ""
    tlvs: tuple[TLV, ...] = ()


class Introductions:
    """To which ports of the workload clients are introduced, and how.

    :param ports: as clients know them.
    """

    def __init__(self, ports: Iterable[PortRange] = (), extras: Collection[Extra] = EVERYTHING) -> None:
        self._ports = tuple(ports)
        self._extras = extras

    def wanted(self, port: int) -> bool:
        """Tell whether a connection to this port begins with a header."""
        return bool(self._ports) and any(port in each for each in self._ports)

    def greeting(self, port: int, client: Client, security: Security) -> bytes:
        """Return what the workload gets ahead of the client's bytes; nothing where nothing is wanted."""
        if not self.wanted(port):
            return b""
        tlvs = [each for extra, each in self._known(client, security) if extra in self._extras]
        return encode_v2(client.address, client.destination, tlvs)

    def _known(self, client: Client, security: Security) -> Iterable[tuple[Extra, TLV]]:
        said = {AUTHORITY: client.authority.encode(), **dict(client.tlvs)}
        for extra, kind in ((Extra.ALPN, ALPN), (Extra.AUTHORITY, AUTHORITY)):
            if 0 < len(said.get(kind, b"")) <= MAX_VALUE:
                yield extra, (kind, said[kind])
        if isinstance(security, Mtls):
            yield Extra.IDENTITY, (PEER_IDENTITY, security.peer.spiffe.encode())
