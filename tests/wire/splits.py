"""Ways to cut bytes: a parser must say the same however its input arrives."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hypothesis import strategies as st

from tests.effort import EFFORT, Effort

FEW = 200 if EFFORT is not Effort.QUICK else 50
"""Bytes of which every split into three is tried: 20,000 of them."""
NEAR = 10 if EFFORT is not Effort.QUICK else 2
"""Bytes between two cuts that are tried everywhere: one more than the longest head of a frame."""
LINES = 64 if EFFORT is not Effort.QUICK else 16
"""Places of a cut on the grid, at least."""


def cuts(data: bytes, effort: Effort = EFFORT) -> Iterator[tuple[bytes, ...]]:
    """Yield splits of the bytes into two and three pieces, none of them empty.

    Two pieces: all. Three pieces, for which there are about ``len(data) ** 2 / 2`` splits, a million for 1.5 KB: all if
    the bytes are few or everything is to be tried; else all whose middle piece is no longer than `NEAR`, for a
    parser holds what is unfinished, and two cuts meet in that only if they are near; and of the others those on a grid.
    """
    size = len(data)
    for first in range(1, size):
        yield data[:first], data[first:]
    whole = size <= FEW or effort is Effort.ALL
    grid = max(size // LINES, 1)
    for first in range(1, size):
        near = size if whole else min(first + NEAR + 1, size)
        for second in range(first + 1, near):
            yield data[:first], data[first:second], data[second:]
        if not whole and first % grid == 0:
            for second in range(near, size, grid):
                yield data[:first], data[first:second], data[second:]


def disagreeing(parse: Callable[..., object], data: bytes) -> tuple[bytes, ...] | None:
    """Return the first of the `cuts` of which the parser says something else than of the whole, None if there is none.

    :param parse: takes the pieces, and returns what a new parser says of them.
    """
    whole = parse(data)
    with untraced():
        return next((pieces for pieces in cuts(data) if parse(*pieces) != whole), None)


@contextmanager
def untraced() -> Iterator[None]:
    """Leave coverage out of what is done millions of times, which it makes up to six times slower."""
    trace = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(trace)


def splits(data: bytes, max_cuts: int = 12) -> st.SearchStrategy[list[bytes]]:
    """Return a strategy for random splits of the bytes; pieces may be empty."""
    places = st.lists(st.integers(0, len(data)), max_size=max_cuts).map(sorted)
    return places.map(lambda at: [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)])
