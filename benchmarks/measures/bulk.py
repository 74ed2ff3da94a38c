"""Many bytes on one connection."""

from __future__ import annotations

import json

from benchmarks.ground import Ground
from benchmarks.measures import Figures
from benchmarks.peers.peer import OUTBOUND_PORT, Pair

GIB = 1 << 30


def bulk(ground: Ground, pair: Pair, seconds: float) -> Figures:
    """Measure down and up, about half of the time each at a GiB/s."""
    size = int(GIB * max(seconds / 2, 0.5))
    figures = {}
    for way in ("down", "up"):
        before = pair.cpu()
        said = json.loads(ground.tool("bulk", pair.place.outbound, str(OUTBOUND_PORT), way, str(size)))
        figures[f"bulk_{way}_cpu_s_per_gib"] = (pair.cpu() - before) * GIB / size
        figures[f"bulk_{way}_mb_per_s"] = size / said["seconds"] / 1e6
    return figures
