"""Where a redirected connection was going before the kernel turned it to us (Linux, SO_ORIGINAL_DST).

    IPv4: getsockopt(SOL_IP, 80)   -> sockaddr_in:   family 2, port 2 (big-endian), address 4
    IPv6: getsockopt(SOL_IPV6, 80) -> sockaddr_in6:  family 2, port 2, flow 4, address 16, scope 4

The answer comes from connection tracking. It knows connections too that nobody redirected: for those it
gives our own address, so the answer means nothing before it is compared with that. It knows nothing of a
connection that was reset more than ten seconds ago, or where no rule has started it.

It is asked by the connection's addresses. One that was reset while it waited to be accepted may have left its port to
another by the time that it is, and would be told where that one was going; so it has to stand when the answer is there.
Nor is the answer believed for a connection that its client has ended (FIN) long before it is accepted: tracking forgets
that one as well (Linux: nf_conntrack_tcp_timeout_close_wait, 60 s), while the socket stands until a segment of the
port's next connection resets it.
"""

from __future__ import annotations

import socket
import struct
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

_INFO = struct.Struct("=B55xI")
"""Of TCP_INFO (linux/tcp.h): the connection's state, and milliseconds since the peer acknowledged anything."""
_ESTABLISHED = 1
_LONGEST_ENDED = 10_000
"""Milliseconds for which a client's FIN may have waited with its connection to be accepted."""


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
    :raises AlreadyGone: the connection has ended, or its client did so long ago; the answer may be another's.
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
    _check_standing(sock)
    return Original(address, address != local)


def _check_standing(sock: socket.socket) -> None:
    """Insist that the client has neither reset the connection nor ended it long ago.

    :raises AlreadyGone: it has.
    """
    try:
        sock.getpeername()  # 0.5 us
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)  # 0.7 us
    except OSError as why:
        raise AlreadyGone(f"the connection is gone: {why.strerror}") from why
    if len(info) < _INFO.size:  # of a sandbox that shows a shorter struct
        return
    state, quiet = _INFO.unpack(info)
    if state != _ESTABLISHED and quiet > _LONGEST_ENDED:
        raise AlreadyGone(f"the connection is gone: its client ended it {quiet / 1000:.0f} s before it was accepted")


def _port(raw: bytes) -> int:
    return int.from_bytes(raw[2:4], "big")
