"""Ways to cut bytes: a parser must say the same however its input arrives."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hypothesis import strategies as st


def cuts(data: bytes) -> Iterator[tuple[bytes, ...]]:
    """Yield every split of the bytes into two, then into three pieces, none of them empty.

    There are about ``len(data) ** 2 / 2`` of them: a million for 1.5 KB.
    """
    for first in range(1, len(data)):
        yield data[:first], data[first:]
    for first in range(1, len(data)):
        head, tail = data[:first], data[first:]
        for second in range(1, len(tail)):
            yield head, tail[:second], tail[second:]


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
