"""Percentiles of what was measured."""

from __future__ import annotations

from collections.abc import Iterable

SHARES = (50, 90, 99, 99.9)


def percentiles(values: Iterable[float]) -> dict[str, float]:
    """Return the values below which these shares lie, such as ``{"p50": ...}``; of no values, nothing."""
    ordered = sorted(values)
    return {f"p{share:g}": ordered[int(len(ordered) * share / 100)] for share in SHARES if ordered}
