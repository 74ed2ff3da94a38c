"""The rounds: all pairs run side by side, and are measured one after another, again and again."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks import servers
from benchmarks.accounting import busy_seconds
from benchmarks.measures import Figures, bulk, connections, memory, requests
from benchmarks.peers import peer as peers
from benchmarks.results import Results

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.ground import Ground
    from benchmarks.peers.peer import Pair, Peer

    Measure = Callable[[Ground, Pair, float], Figures]

MEASURES: dict[str, tuple[int, Measure]] = {
    "memory": (servers.REQUESTS_PORT, memory.memory),
    "requests": (servers.REQUESTS_PORT, requests.kept_alive),
    "connections": (servers.REQUESTS_PORT, connections.new),
    "bulk": (servers.BULK_PORT, bulk.bulk),
}
"""By name: the port of the server behind the pair, and the measure."""

ONCE = {"memory"}
"""What is measured in the first round alone: of proxies that have done nothing yet."""


def rounds(ground: Ground, kinds: Sequence[Peer], what: Sequence[str], count: int, seconds: float) -> Results:
    """Measure.

    :param what: names of `MEASURES`.
    :param seconds: of each measure of each pair in each round.
    """
    results = Results()
    for port in (servers.REQUESTS_PORT, servers.BULK_PORT):
        chosen = [name for name in what if MEASURES[name][0] == port]
        if not chosen:
            continue
        with running(ground, kinds, port) as pairs:
            for number in range(count):
                turn = number % len(pairs)
                for pair in pairs[turn:] + pairs[:turn]:
                    for name in chosen:
                        if number == 0 or name not in ONCE:
                            results.add(pair.name, _measure(ground, pair, MEASURES[name][1], seconds))
                print(f"round {number + 1} of {count}: {', '.join(chosen)}", file=sys.stderr, flush=True)
    return results


def _measure(ground: Ground, pair: Pair, measure: Measure, seconds: float) -> Figures:
    """Measure, and see what else the CPU of the proxies was at."""
    pair.settle()
    begun, busy, used = time.monotonic(), busy_seconds(ground.proxies_cpu), pair.cpu()
    figures = measure(ground, pair, seconds)
    others = busy_seconds(ground.proxies_cpu) - busy - (pair.cpu() - used)
    return {**figures, "others_cpu": others / (time.monotonic() - begun)}


@contextmanager
def running(ground: Ground, kinds: Sequence[Peer], port: int) -> Iterator[list[Pair]]:
    """Have a pair of each kind, in front of the server at a port."""
    pairs: list[Pair] = []
    try:
        for number, kind in enumerate(kinds):
            pairs.append(peers.start(ground, kind, number, port))
        for pair in pairs:
            peers.ready(ground, pair)
        yield pairs
    finally:
        for pair in pairs:
            pair.stop()
