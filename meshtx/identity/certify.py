"""The exchange that gets a certificate, as values: see `meshtx.identity.keeper_service` for its user."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred

from meshtx.pki.bundle import TrustBundle
from meshtx.pki.credentials import Credentials
from meshtx.pki.name import Name


@dataclass(frozen=True, slots=True)
class CertifyArguments:
    """What a workload sends.

    :param token: as it was read, untouched.
    :param csr: DER.
    :param trust: what to verify the service against.
    :param credentials: to present to it, ``None`` where there are none yet.
    """

    identity: Name
    token: bytes = field(repr=False)
    csr: bytes = field(repr=False)
    trust: TrustBundle = field(repr=False)
    credentials: Credentials | None = None


@dataclass(frozen=True, slots=True)
class CertifyAnswer:
    """What the identity service answers: DER; intermediates with the direct issuer first."""

    leaf: bytes = field(repr=False)
    intermediates: tuple[bytes, ...] = field(default=(), repr=False)


Certify = Callable[[CertifyArguments], Deferred[CertifyAnswer]]
"""Asks once. A `MeshtxError` is a reason that can be shown; anything else is a defect."""
