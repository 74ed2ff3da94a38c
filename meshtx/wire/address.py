"""An IP address and a port: the value that every room passes for an endpoint of TCP."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

IP = IPv4Address | IPv6Address


@lru_cache(maxsize=4096)
def parse_ip(text: str) -> IP:
    """Return the address; an IPv4-mapped IPv6 one (RFC 4291, section 2.5.5.2) becomes IPv4.

    :raises ValueError: the text is no IP address.
    """
    ip = ip_address(text.partition("%")[0])
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    return mapped or ip


def refuse_zone(text: str) -> None:
    """Insist that what a user has written is a whole address: a zone means something on one machine, and is not kept.

    :raises ValueError: there is one (RFC 4007, section 11).
    """
    if "%" in text:
        raise ValueError(f"{text!r} has a zone, and only addresses that need none are taken")


@lru_cache(maxsize=4096)
def _text(ip: IP) -> str:
    return str(ip)


@dataclass(frozen=True, slots=True)
class Address:
    """One end of a TCP connection; prints as ``10.1.0.4:80`` or ``[fd00::1]:80``."""

    ip: IP
    port: int

    @classmethod
    def of(cls, host: str, port: int) -> Address:
        """Return the address of a numeric host.

        :raises ValueError: the host is no IP address or the port is outside 0-65535.
        """
        if not 0 <= port <= 65535:
            raise ValueError(f"port {port} is outside 0-65535")
        return cls(parse_ip(host), port)

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``10.1.0.4:80`` or ``[fd00::1]:80``.

        :raises ValueError: it is neither.
        """
        host, colon, port = text.rpartition(":")
        if not colon or not (port.isascii() and port.isdigit()):
            raise ValueError(f"{text!r} is not ADDRESS:PORT")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ValueError(f"{text!r}: write an IPv6 address in brackets")
        refuse_zone(host)
        return cls.of(host, int(port))

    @property
    def host(self) -> str:
        """The address as Twisted and the socket module take it."""
        return _text(self.ip)

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if self.ip.version == 6 else f"{self.ip}:{self.port}"
