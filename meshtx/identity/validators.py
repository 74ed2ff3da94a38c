"""Finds a token validator by the name that the configuration gives."""

from __future__ import annotations

from meshtx.extensions import Extensions
from meshtx.interfaces import ITokenValidator

VALIDATORS = Extensions(ITokenValidator, "validator", "validator", also=("local", "kubernetes", "jwks"))


def load_validator(name: str) -> ITokenValidator:
    """Return the validator that a plugin offers under this name.

    :raises ConfigError: none does, several do, or it does not fit the interface.
    """
    (found,) = VALIDATORS.load([name])
    return found
