"""What every parser of the wire says of a peer that broke its format."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Malformed:
    """The peer broke the format. Nothing comes after it.

    :param reason: of our making and printable, without the peer's bytes.
    """

    reason: str
