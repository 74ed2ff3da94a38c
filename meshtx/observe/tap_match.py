"""What a tap wants to see: the filters, evaluated before anything is queued or built.

All that are given must hold. A filter on method, path or authority leaves out connections in which
no request was seen; an answer and its end follow their request.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_network

from meshtx.errors import MeshtxError
from meshtx.observe.flow import Direction, Flow, Mtls, Request
from meshtx.pki.name import Name
from meshtx.wire.address import Address, parse_ip, refuse_zone


class BadMatch(MeshtxError, ValueError):
    """A filter cannot be read; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Place:
    """A network, and a port in it where one was given."""

    network: IPv4Network | IPv6Network
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Place:
        """Read ``10.1.0.0/16``, ``10.1.0.4``, ``10.1.0.4:80``, ``fd00::1`` or ``[fd00::1]:80``.

        :raises BadMatch: it is none of these.
        """
        try:
            refuse_zone(text)
            if "/" in text:
                return cls(ip_network(text))
            if text.startswith("[") or text.count(":") == 1:
                address = Address.parse(text)
                return cls(ip_network(address.ip), address.port)
            return cls(ip_network(parse_ip(text)))
        except ValueError as error:
            raise BadMatch(f"{text!r} is no ADDRESS, ADDRESS:PORT or NETWORK/BITS ({error})") from error

    def holds(self, address: Address) -> bool:
        """Say whether the address lies here."""
        return address.ip in self.network and self.port in (None, address.port)

    def __str__(self) -> str:
        return str(self.network) if self.port is None else str(Address(self.network.network_address, self.port))


@dataclass(frozen=True)
class TapMatch:
    """The filters of one tap; without any it matches everything.

    :param methods: any of these, compared as they stand.
    :param path_prefix: how the path starts.
    :param authority: compared without regard to case.
    :param peer: the name that the other side proved.
    :param sources: any of these.
    :param destinations: any of these; the original destination is compared.
    """

    methods: frozenset[str] = frozenset()
    path_prefix: str = ""
    authority: str = ""
    peer: Name | None = None
    direction: Direction | None = None
    sources: tuple[Place, ...] = ()
    destinations: tuple[Place, ...] = ()

    @cached_property
    def requests_only(self) -> bool:
        """True if a connection without requests cannot match."""
        return bool(self.methods or self.path_prefix or self.authority)

    def flow(self, flow: Flow) -> bool:
        """Say whether the connection matches, its requests left aside."""
        if self.direction not in (None, flow.direction):
            return False
        if self.peer is not None and not (isinstance(flow.security, Mtls) and flow.security.peer == self.peer):
            return False
        return _within(self.sources, flow.src) and _within(self.destinations, flow.dst)

    def request(self, request: Request) -> bool:
        """Say whether a request matches, its connection left aside."""
        if self.methods and request.method not in self.methods:
            return False
        if self.authority and request.authority.lower() != self.authority.lower():
            return False
        return request.path.startswith(self.path_prefix)


def _within(places: tuple[Place, ...], address: Address) -> bool:
    return not places or any(place.holds(address) for place in places)
