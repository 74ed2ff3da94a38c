"""What an accepted connection is addressed to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.interfaces import ITCPTransport

from meshtx.wire.address import IP


@dataclass(frozen=True, slots=True)
class Goal:
    """What an accepted connection is addressed to.

    :param ip: the address of this host that was meant: a redirect may have brought it to another one.
    :param port: as clients know it.
    :param direct: it is addressed to this proxy, by a peer that will say which port it means.
    """

    ip: IP
    port: int
    direct: bool


Goals = Callable[[ITCPTransport], Goal]
"""Tells what an accepted connection is addressed to; raises `AlreadyGone`."""
