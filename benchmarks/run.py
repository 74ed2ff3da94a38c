"""The rounds: all pairs run side by side, and are measured one after another, again and again."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

from benchmarks import servers
from benchmarks.accounting import busy_seconds
from benchmarks.ground import Ground
from benchmarks.measures import Figures, bulk, connections, latency, memory, requests
from benchmarks.peers.peer import Pair, Peer
from benchmarks.peers.running import running
from benchmarks.results import Results
from meshtx.errors import MeshtxError

Measure = Callable[[Ground, Pair, float], Figures]

MEASURES: dict[str, tuple[int, Measure]] = {
    "memory": (servers.REQUESTS_PORT, memory.memory),
    "requests": (servers.REQUESTS_PORT, requests.kept_alive),
    "latency": (servers.REQUESTS_PORT, latency.at_half),
    "connections": (servers.REQUESTS_PORT, connections.new),
    "bulk": (servers.BULK_PORT, bulk.bulk),
}
"""By name: the port of the server behind the pair, and the measure."""

TRIES = 3
"""Times that a measure is tried."""

ONCE = {"memory"}
"""What is measured in the first round alone: of proxies that have done nothing yet."""


def rounds(ground: Ground, kinds: Sequence[Peer], what: Sequence[str], count: int, seconds: float) -> Results:
    """Measure.

    :param what: names of `MEASURES`.
    :param seconds: of each measure of each pair in each round.
    """
    results = Results()
    for port in (servers.REQUESTS_PORT, servers.BULK_PORT):
        chosen = [name for name in MEASURES if name in what and MEASURES[name][0] == port]
        if not chosen:
            continue
        with running(ground, kinds, port) as pairs:
            for number in range(count):
                turn = number % len(pairs)
                for pair in pairs[turn:] + pairs[:turn]:
                    for name in chosen:
                        if number == 0 or name not in ONCE:
                            results.add(pair.name, _measure(ground, pair, MEASURES[name][1], seconds))
                tell(f"round {number + 1} of {count}: {', '.join(chosen)}")
    return results


def tell(what: str) -> None:
    """Say how far it is."""
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


def _measure(ground: Ground, pair: Pair, measure: Measure, seconds: float) -> Figures:
    """Measure; again, if that fails: an hour is not to be lost by a moment in which the machine did something else."""
    for _ in range(TRIES - 1):
        try:
            return _once(ground, pair, measure, seconds)
        except MeshtxError as error:
            tell(f"{pair.name} is measured again: {error}")
    return _once(ground, pair, measure, seconds)


def _once(ground: Ground, pair: Pair, measure: Measure, seconds: float) -> Figures:
    """Measure, and see what else the CPU of the proxies was at."""
    pair.settle()
    begun, busy, used = time.monotonic(), busy_seconds(ground.proxies_cpu), pair.cpu()
    figures = measure(ground, pair, seconds)
    others = busy_seconds(ground.proxies_cpu) - busy - (pair.cpu() - used)
    return {**figures, "others_cpu": others / (time.monotonic() - begun)}
