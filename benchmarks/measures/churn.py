"""What connections leave behind: memory, descriptors and objects of proxies through which very many go."""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence

from benchmarks import accounting
from benchmarks.ground import Ground, Running
from benchmarks.measures import connections
from benchmarks.peers.meshtx import Meshtx
from benchmarks.peers.peer import INBOUND_PORT, Pair, Peer
from benchmarks.peers.running import running
from benchmarks.peers.twistd import OBJECTS
from benchmarks.results import Results
from benchmarks.servers import REQUESTS_PORT
from meshtx.demo.lab import LabError, wait_until

KINDS = (
    Peer("legs", Meshtx(changes=("counted",)).commands),
    Peer("one-shot", Meshtx(changes=("one_shot", "counted")).commands),
)
"""Both ways of carrying a connection, with HTTP observed."""

CUT = 10
"""Every tenth connection is reset in the middle."""
STRANGERS = 20.0
"""A second come to each inbound proxy who prove nothing, and are refused."""
SPELLS = 60
"""How often the proxies come to rest, and everything is counted: then what is left is what ended connections leave.
Beside open ones, of which there are now more and now fewer, a small leak would not be seen."""
AT_REST = 1e-3
"""CPU seconds that all proxies use between two looks at most, once nothing comes."""


def churn(ground: Ground, seconds: float) -> Results:
    """Send connections through both kinds at once for so long, and count what there is left behind each spell."""
    results = Results()
    with running(ground, KINDS, REQUESTS_PORT) as pairs:
        begun = time.monotonic()
        totals: dict[str, Counter[str]] = {pair.name: Counter() for pair in pairs}
        for _ in range(SPELLS):
            _spell(ground, pairs, seconds / SPELLS, totals)
            _rest(pairs)
            for pair in pairs:
                for side, proxy in (("outbound", pair.outbound), ("inbound", pair.inbound)):
                    results.add(f"{pair.name}, {side}", {"at_s": time.monotonic() - begun, **_counts(proxy)})
        for name, total in totals.items():
            results.add(name, dict(total))
    return results


def _spell(ground: Ground, pairs: Sequence[Pair], seconds: float, totals: dict[str, Counter[str]]) -> None:
    """Send connections for so long, and add up how they fared."""
    loads = [connections.begin(ground, pair, seconds, connections.MANY, CUT) for pair in pairs]
    strangers = [_strangers(ground, pair, seconds) for pair in pairs]
    for pair, load, others in zip(pairs, loads, strangers, strict=True):
        said, refused = load.report(), others.report()
        if refused["failed"]:
            raise LabError(f"{pair.name} lets in {refused['failed']} who prove nothing")
        counts = {"connections": said["done"], "connections_failed": said["failed"], "refused": refused["done"]}
        totals[pair.name].update(counts)


def _rest(pairs: Sequence[Pair]) -> None:
    """Wait until no proxy has anything left to do."""
    used = 0.0

    def unchanged() -> bool:
        nonlocal used
        before, used = used, sum(pair.cpu() for pair in pairs)
        return used - before < AT_REST

    wait_until(unchanged, "the proxies are at rest", 10)


def _strangers(ground: Ground, pair: Pair, seconds: float) -> Running:
    """Begin to send who proves nothing."""
    place = pair.place
    server_name, anchors = (place.certificates[what] for what in ("server_name", "ca"))
    argv = [place.inbound, str(INBOUND_PORT), server_name, anchors, f"{seconds:g}", f"{STRANGERS:g}"]
    run = [sys.executable, "-m", "benchmarks.load.strangers", *argv]
    return ground.start(f"strangers-{pair.name}-{time.monotonic_ns()}", run, cpu=ground.load_cpu)


def _counts(proxy: Running) -> dict[str, float]:
    return {
        "rss_mib": proxy.resident() / 2**20,
        "descriptors": accounting.descriptors(proxy.process.pid),
        "objects": _objects(proxy),
    }


def _objects(proxy: Running) -> int:
    """Have the proxy count, and return what it writes."""

    def counts() -> list[str]:
        return [line for line in proxy.said.read_text().splitlines() if line.startswith(OBJECTS)]

    before = len(counts())
    proxy.process.send_signal(signal.SIGUSR2)
    wait_until(lambda: len(counts()) > before, f"{proxy.what} counts its objects", 10)
    return int(counts()[-1].removeprefix(OBJECTS))
