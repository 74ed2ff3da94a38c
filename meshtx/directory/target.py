"""What the directory answers: the place behind an address, and whether it is meshed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from meshtx.errors import MeshtxError
from meshtx.observe.flow import NoTls
from meshtx.pki.name import Name
from meshtx.wire.address import Address


class NotReady(MeshtxError):
    """The directory cannot say: no first answer yet, or out of reach for an unknown address."""


class NoEndpoints(MeshtxError):
    """The address is a service's, and nobody serves it now."""


@dataclass(frozen=True, slots=True)
class Meshed:
    """The destination has a proxy of its own, which proves this name.

    :param via: where that proxy takes mutual TLS.
    """

    name: Name
    via: Address


class Choice(Protocol):
    """One connection's choice among several endpoints that serve the same."""

    def begun(self) -> None:
        """Count the connection at its endpoint, until `ended`."""

    def again(self, only: Name | None = None) -> Target | None:
        """Take that the endpoint does not answer, and choose another; ``None``: there is none to try any more.

        :param only: whom the other one is to prove to be.
        """

    def ended(self) -> None:
        """The connection has ended; may be called again."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a connection goes and how.

    :param address: the destination itself; of a service, the endpoint that was chosen.
    :param authority: its name where the directory knows one, else ``""``.
    :param security: the peer to insist on, or why plaintext is right.
    :param opaque: the port's bytes are not to be looked at.
    :param choice: there were others to choose, and there are if this one does not answer.
    """

    address: Address
    authority: str
    security: Meshed | NoTls
    opaque: bool = False
    choice: Choice | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class PortFacts:
    """What is to be known of a port of this very workload before its bytes are looked at.

    :param opaque: the bytes are not to be looked at.
    :param skipped: the proxy does not take part: they go through as they are.
    :param hidden_by: a Service, ``NAMESPACE/NAME``, by way of which others come to this port with a node's address in
        the place of their own; empty: none is known. It explains what is seen, and decides nothing.
    """

    opaque: bool = False
    skipped: bool = False
    hidden_by: str = ""
