"""Pairs that run side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from benchmarks.agreed import Watch
from benchmarks.ground import Ground
from benchmarks.peers.peer import Pair, Peer, ready, start


@contextmanager
def running(ground: Ground, kinds: Sequence[Peer], port: int) -> Iterator[list[Pair]]:
    """Have a pair of each kind, in front of the server at a port; what they agree on is checked first."""
    pairs: list[Pair] = []
    watch = Watch(ground, f"{kinds[0].name}-{port}")
    try:
        for number, kind in enumerate(kinds):
            pairs.append(start(ground, kind, number, port))
        for pair in pairs:
            ready(ground, pair)
        watch.check(pairs)
        yield pairs
    finally:
        for pair in pairs:
            pair.stop()
