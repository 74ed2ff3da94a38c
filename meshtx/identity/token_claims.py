"""What a token may say, and what is made of it: the same for each issuer of tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from meshtx.identity.validator import TokenMalformed, TokenRejected
from meshtx.pki.name import InvalidName, MeshScope, Name

AUDIENCE: Final = "identity.l5d.io"
"""Whom a token is for that proves a workload's name; Linkerd's, so that its pods' tokens are good."""
MAX_LENGTH = 16 * 1024
"""Bytes of a token; ours have about 350, a cluster's some 1,300."""
LEEWAY = 60.0
"""Seconds by which the clock of whoever makes tokens may be ahead."""


def check_length(token: bytes) -> None:
    """Look at no more than this.

    :raises TokenMalformed: it is longer than `MAX_LENGTH`.
    """
    if len(token) > MAX_LENGTH:
        raise TokenMalformed(f"the token has {len(token)} bytes, at most {MAX_LENGTH}")


def name_of(subject: object, scope: MeshScope) -> Name:
    """Return the name of an account as Kubernetes writes it: ``system:serviceaccount:NAMESPACE:ACCOUNT``.

    :raises TokenMalformed: it is nothing of that kind, or cannot be a name.
    """
    parts = subject.split(":") if isinstance(subject, str) else []
    if len(parts) != 4 or parts[:2] != ["system", "serviceaccount"]:
        raise TokenMalformed("the token's subject is not system:serviceaccount:NAMESPACE:ACCOUNT")
    try:
        return scope.name(parts[2], parts[3])
    except InvalidName as error:
        raise TokenMalformed(f"the token's subject cannot be a name: {error}") from error


def seconds(claims: Mapping[str, object], name: str) -> float:
    """Return a time, in seconds since the epoch.

    :raises TokenRejected: it is missing, or no number.
    """
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TokenRejected(f"the token's {name!r} is missing or no time")
    return value


def check_use(begins: float, ends: float, now: float) -> None:
    """Look whether a token may be used now; all three in seconds since the epoch.

    :raises TokenRejected: not yet, or no longer.
    """
    if begins > now + LEEWAY:
        raise TokenRejected("the token is not valid yet")
    if now >= ends:
        raise TokenRejected("the token has expired")
