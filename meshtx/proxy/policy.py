"""Who may connect to the workload.

`decide` alone makes a `Permit`, and a connection to the workload takes nothing else: a path on which nobody
asked the policy does not type-check. Where a policy is on, what no rule names is refused; an empty list of
names lets nobody in.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from meshtx.observe.flow import Mtls, NoTls, Refusal, Security
from meshtx.pki.name import Name


class Mode(StrEnum):
    """The inbound policy's modes, as the configuration spells them."""

    ALL_UNAUTHENTICATED = "all-unauthenticated"
    """Everybody, with mutual TLS or without."""
    ALL_AUTHENTICATED = "all-authenticated"
    """Every peer that proved a name of the mesh."""
    LISTED = "listed"
    """The peers that proved one of the listed names."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the configuration says.

    :param allow: names (their DNS form) that mode `LISTED` lets in.
    """

    mode: Mode
    allow: AbstractSet[str] = frozenset()

    @classmethod
    def of(cls, mode: Mode, allow: Iterable[Name]) -> Policy:
        """Return the policy of the settings ``inbound_policy`` and ``inbound_allow``."""
        return cls(mode, frozenset(str(name) for name in allow))


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to connect to one port of the workload, and by which rule."""

    port: int
    rule: str


@dataclass(frozen=True, slots=True)
class Denied:
    """No leave, and why."""

    reason: Refusal
    detail: str


def decide(policy: Policy, peer: Security, port: int) -> Permit | Denied:
    """Return the leave of a peer to connect to a port of the workload.

    :param peer: what the connection proved: a name, or why it proved none.
    """
    match peer:
        case Mtls(name):
            if policy.mode is Mode.LISTED and str(name) not in policy.allow:
                return Denied(Refusal.NO_RULE, f"{name} is not listed")
            return Permit(port, policy.mode)
        case NoTls(reason):
            if policy.mode is not Mode.ALL_UNAUTHENTICATED:
                return Denied(
                    Refusal.NO_RULE, f"policy {policy.mode.value}, and the peer proved no name: {reason.value}"
                )
            return Permit(port, policy.mode)
        case _:
            assert_never(peer)
