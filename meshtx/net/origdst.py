"""Where a redirected connection was going before the kernel turned it to us (Linux, SO_ORIGINAL_DST).

    IPv4: getsockopt(SOL_IP, 80)   -> sockaddr_in:   family 2, port 2 (big-endian), address 4
    IPv6: getsockopt(SOL_IPV6, 80) -> sockaddr_in6:  family 2, port 2, flow 4, address 16, scope 4

The answer comes from connection tracking. It knows connections too that nobody redirected: for those it
gives our own address, so the answer means nothing before it is compared with that. It knows nothing of a
connection that was reset more than ten seconds ago, or where no rule has started it.

It is asked by the connection's addresses. One that was reset while it waited to be accepted may have left its port to
another by the time that it is, and would be told where that one was going; so it has to stand when the answer is there.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from meshtx.errors import PeerError
from meshtx.wire.address import Address

_SO_ORIGINAL_DST = 80
"""The same number at both levels (linux/netfilter_ipv4.h, linux/netfilter_ipv6/ip6_tables.h)."""
_SOL_IP = 0
_SOL_IPV6 = 41
_SOCKADDR_IN = 16
_SOCKADDR_IN6 = 28


class NoOriginalDestination(PeerError):
    """The kernel does not say where the connection was going."""


class AlreadyGone(PeerError):
    """The connection has ended, so that what the kernel says may be of another that has its port."""


@dataclass(frozen=True, slots=True)
class Original:
    """Where a connection was going.

    :param redirected: False if it was addressed to us: `address` is our own, and connecting to it would be a loop.
    """

    address: Address
    redirected: bool


def original_destination(sock: socket.socket, local: Address) -> Original:
    """Return where an accepted connection was going.

    :param local: the address at which it was accepted (`getHost` of its transport). Its family decides what to ask:
        an IPv4 client on an IPv6 socket is known as an IPv4 connection only.
    :raises NoOriginalDestination: connection tracking does not know the connection (any more), or there is none.
    :raises AlreadyGone: the connection has ended, and the answer may be another's.
    """
    try:
        if local.ip.version == 4:
            raw = sock.getsockopt(_SOL_IP, _SO_ORIGINAL_DST, _SOCKADDR_IN)
            address = Address(IPv4Address(raw[4:8]), _port(raw))
        else:
            raw = sock.getsockopt(_SOL_IPV6, _SO_ORIGINAL_DST, _SOCKADDR_IN6)
            address = Address(IPv6Address(raw[8:24]), _port(raw))
    except OSError as why:
        raise NoOriginalDestination(f"the kernel knows no original destination: {why.strerror}") from why
    try:
        sock.getpeername()  # 0.5 us
    except OSError as why:
        raise AlreadyGone(f"the connection is gone: {why.strerror}") from why
    return Original(address, address != local)


def _port(raw: bytes) -> int:
    return int.from_bytes(raw[2:4], "big")
