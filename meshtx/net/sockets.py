"""What every TCP socket of ours is told: never linger, notice a dead peer, never end in order by accident.

Each connection's socket, accepted or dialled, is *armed to reset* from its first moment on (SO_LINGER with
a time of 0): however it goes, by a crash or SIGKILL too, the peer sees a reset. Only the orderly close
disarms it. So an answer that was cut never looks whole.

A peer that is gone is noticed within a minute: an idle one by keep-alive, one that acknowledges nothing or
keeps its window shut by TCP_USER_TIMEOUT (Linux counts a shut window too, which is what bounds how long a
stalled reader can hold a connection). With a longer one that is the bound for both: where it is set, Linux
lets it decide instead of the number of probes (tcp(7)). Options that a platform lacks are left out: macOS has no
TCP_USER_TIMEOUT and spells TCP_KEEPIDLE differently. A mark cannot be left out: it is Linux's SO_MARK, or
an error.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from dataclasses import dataclass
from functools import lru_cache

KEEPALIVE_INTERVAL = 10
"""Seconds between two keep-alive probes."""
KEEPALIVE_PROBES = 3
"""Probes without an answer that end the connection."""

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_ORDERLY_CLOSE = struct.pack("ii", 0, 0)

_TOTAL_RETRANSMITS = struct.Struct("100xI")
"""Of Linux's struct tcp_info, as far as tcpi_total_retrans (linux/tcp.h); what comes later differs by kernel."""

_MOST_MILLISECONDS = 2**31 - 1

_Option = tuple[int, int, int | bytes]


@dataclass(frozen=True, slots=True)
class SocketOptions:
    """What a user may choose about our sockets.

    :param mark: SO_MARK of every socket, by which redirect rules tell the proxy's traffic apart; needs CAP_NET_ADMIN.
    :param keepalive: seconds of silence before the first probe; with the probes, a dead peer is noticed 30 s later.
    :param user_timeout: seconds that sent bytes may stay unacknowledged, or the peer's window shut; more than the
        kernel takes (24 days) counts as that.
    """

    mark: int | None = None
    keepalive: int = 20
    user_timeout: float = 30.0


def arm(sock: socket.socket, options: SocketOptions) -> None:
    """Prepare a connection's socket: no delay, keep-alive, user timeout, and reset on close.

    :raises OSError: the socket refuses an option.
    """
    for level, name, value in _connection_options(options):
        sock.setsockopt(level, name, value)


def disarm(sock: socket.socket) -> None:
    """Let the next close end the connection in order: everything was sent and both sides agreed."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ORDERLY_CLOSE)


def set_mark(sock: socket.socket, options: SocketOptions) -> None:
    """Give a socket its mark, before it binds or connects.

    :raises OSError: not permitted, or this platform has no marks.
    """
    if options.mark is None:
        return
    if not hasattr(socket, "SO_MARK"):
        raise OSError(errno.ENOPROTOOPT, f"{os.strerror(errno.ENOPROTOOPT)}: this platform has no socket marks")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, options.mark)


def retransmits(sock: socket.socket) -> int:
    """Return how many segments the kernel has sent again on a connection, its SYN included.

    0 where it does not say: on other platforms than Linux, and in sandboxes that show a shorter struct.
    """
    if sys.platform != "linux":
        return 0
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TOTAL_RETRANSMITS.size)
    return int(_TOTAL_RETRANSMITS.unpack(info)[0]) if len(info) == _TOTAL_RETRANSMITS.size else 0


def prepared(sock: socket.socket, options: SocketOptions) -> socket.socket:
    """Mark and arm a new socket, and return it.

    :raises OSError: it cannot be prepared, and is closed.
    """
    try:
        set_mark(sock, options)
        arm(sock, options)
    except OSError:
        sock.close()
        raise
    return sock


@lru_cache(maxsize=16)
def _connection_options(options: SocketOptions) -> tuple[_Option, ...]:
    wanted = {
        "TCP_NODELAY": 1,
        "TCP_KEEPIDLE": options.keepalive,
        "TCP_KEEPALIVE": options.keepalive,  # macOS's name for TCP_KEEPIDLE
        "TCP_KEEPINTVL": KEEPALIVE_INTERVAL,
        "TCP_KEEPCNT": KEEPALIVE_PROBES,
        "TCP_USER_TIMEOUT": min(max(round(options.user_timeout * 1000), 1), _MOST_MILLISECONDS),  # 0 means for ever
    }
    return (
        (socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        *((socket.IPPROTO_TCP, getattr(socket, name), wanted[name]) for name in wanted if hasattr(socket, name)),
    )
