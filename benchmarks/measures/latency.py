"""What a pair adds to the time of an answer when it has half of what it can do."""

from __future__ import annotations

import sys
import time
from typing import Any

from benchmarks.ground import Ground, Running
from benchmarks.measures import Figures
from benchmarks.measures.requests import MANY, most
from benchmarks.peers.peer import OUTBOUND_PORT, Pair


def at_half(ground: Ground, pair: Pair, seconds: float) -> Figures:
    """Measure its own maximum, then half of that through it and past it: the difference is what it adds."""
    rate = most(ground, pair, seconds / 2) / 2
    direct = paced(ground, (pair.place.inbound, pair.place.port), seconds, rate)
    through = paced(ground, (pair.place.outbound, OUTBOUND_PORT), seconds, rate)
    return {
        "half_rate": rate,
        **{f"half_{share}_us": (through["ns"][share] - direct["ns"][share]) / 1e3 for share in ("p50", "p99")},
        "half_late_p99_us": through["late_ns"]["p99"] / 1e3,
    }


def paced(ground: Ground, to: tuple[str, int], seconds: float, rate: float) -> dict[str, Any]:
    """Make a steady load, and return what it says."""
    return begin(ground, to, seconds, rate).report()


def begin(ground: Ground, to: tuple[str, int], seconds: float, rate: float) -> Running:
    """Begin one."""
    argv = [to[0], str(to[1]), f"{seconds:g}", f"{rate:g}", str(MANY)]
    name = f"paced-{time.monotonic_ns()}"
    return ground.start(name, [sys.executable, "-m", "benchmarks.load.paced", *argv], cpu=ground.load_cpu)
