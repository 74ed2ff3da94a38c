"""Ways to cut bytes: a parser must say the same however its input arrives."""

from __future__ import annotations

from collections.abc import Iterator

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


def splits(data: bytes, max_cuts: int = 12) -> st.SearchStrategy[list[bytes]]:
    """Return a strategy for random splits of the bytes; pieces may be empty."""
    places = st.lists(st.integers(0, len(data)), max_size=max_cuts).map(sorted)
    return places.map(lambda at: [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)])
