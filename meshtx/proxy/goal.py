"""What an accepted connection is addressed to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.interfaces import ITCPTransport


@dataclass(frozen=True, slots=True)
class Goal:
    """What an accepted connection is addressed to.

    :param port: as clients know it.
    :param direct: it is addressed to this proxy, by a peer that will say which port it means.
    """

    port: int
    direct: bool


Goals = Callable[[ITCPTransport], Goal]
"""Tells what an accepted connection is addressed to; raises `NoOriginalDestination`."""
