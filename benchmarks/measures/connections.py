"""New connections, each with one request."""

from __future__ import annotations

import json
import re
from typing import Any

from benchmarks.ground import Ground
from benchmarks.measures import Figures
from benchmarks.peers.peer import OUTBOUND_PORT, Pair

MANY = 32

_HANDSHAKES = re.compile(r'^meshtx_handshake_duration_seconds_count\{direction="outbound"\} (\S+)$', re.MULTILINE)


def new(ground: Ground, pair: Pair, seconds: float) -> Figures:
    """Measure 32 at once, then one at a time: how long until the first byte."""
    used, shaken = pair.cpu(), handshakes(ground, pair)
    many = _load(ground, pair, seconds, MANY)
    cpu = 1e6 * (pair.cpu() - used) / many["done"]
    figures = {"connection_cpu_us": cpu, "connections_per_s": many["done"] / many["seconds"]}
    if shaken is not None:
        figures["legs_found"] = 1 - ((handshakes(ground, pair) or 0) - shaken) / many["done"]
    one = _load(ground, pair, seconds / 2, 1)
    return figures | {
        "connections_failed": many["failed"] + one["failed"],
        "first_byte_p50_us": one["ns"]["p50"] / 1e3,
        "first_byte_p99_us": one["ns"]["p99"] / 1e3,
    }


def handshakes(ground: Ground, pair: Pair) -> float | None:
    """Return how many handshakes the outbound proxy has made; nothing if it does not say."""
    if not pair.peer.metrics:
        return None
    found = _HANDSHAKES.search(ground.page(pair.peer.metrics(pair.place)))
    return float(found[1]) if found else 0.0


def _load(ground: Ground, pair: Pair, seconds: float, at_once: int) -> dict[str, Any]:
    return json.loads(ground.tool("connections", pair.place.outbound, str(OUTBOUND_PORT), f"{seconds:g}", str(at_once)))
