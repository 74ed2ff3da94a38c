"""What the directory answers: the place behind an address, and whether it is meshed."""

from __future__ import annotations

from dataclasses import dataclass

from meshtx.errors import MeshtxError
from meshtx.observe.flow import NoTls
from meshtx.pki.name import Name
from meshtx.wire.address import Address

INBOUND_PORT = 4143
"""Where a meshed workload's proxy takes connections from other proxies."""


class NotReady(MeshtxError):
    """The directory cannot say: no first answer yet, or out of reach for an unknown address."""


@dataclass(frozen=True, slots=True)
class Meshed:
    """The destination has a proxy of its own, which proves this name.

    :param via: where that proxy takes mutual TLS.
    """

    name: Name
    via: Address


@dataclass(frozen=True, slots=True)
class Target:
    """Where a connection goes and how.

    :param address: the destination itself.
    :param authority: its name where the directory knows one, else ``""``.
    :param security: the peer to insist on, or why plaintext is right.
    :param opaque: the port's bytes are not to be looked at.
    """

    address: Address
    authority: str
    security: Meshed | NoTls
    opaque: bool = False


@dataclass(frozen=True, slots=True)
class PortFacts:
    """What is to be known of a port of this very workload before its bytes are looked at.

    :param opaque: the bytes are not to be looked at.
    :param skipped: the proxy does not take part: they go through as they are.
    """

    opaque: bool = False
    skipped: bool = False
