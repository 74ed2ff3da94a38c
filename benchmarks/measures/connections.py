"""New connections, each with one request."""

from __future__ import annotations

import sys
import time

from benchmarks.ground import Ground, Running
from benchmarks.measures import Figures
from benchmarks.peers.peer import OUTBOUND_PORT, Pair

MANY = 32
WARM = 1.0
"""Seconds of the same load before, so that who keeps connections has as many as it takes."""


def new(ground: Ground, pair: Pair, seconds: float) -> Figures:
    """Measure 32 at once, then one at a time: how long until the first byte."""
    begin(ground, pair, WARM, MANY).report()
    shaken = handshakes(ground, pair)
    used, kernel = pair.cpu(), pair.kernel()
    many = begin(ground, pair, seconds, MANY).report()
    used, kernel = pair.cpu() - used, pair.kernel() - kernel
    figures = {
        "connection_cpu_us": 1e6 * used / many["done"],
        "connection_kernel_us": 1e6 * kernel / many["done"],
        "connections_per_s": many["done"] / many["seconds"],
    }
    if shaken is not None:
        figures["legs_found"] = 1 - ((handshakes(ground, pair) or 0) - shaken) / many["done"]
    one = begin(ground, pair, seconds / 2, 1).report()
    return figures | {
        "connections_failed": many["failed"] + one["failed"],
        "first_byte_p50_us": one["ns"]["p50"] / 1e3,
        "first_byte_p99_us": one["ns"]["p99"] / 1e3,
    }


def handshakes(ground: Ground, pair: Pair) -> float | None:
    """Return how many handshakes the outbound proxy has made; nothing if it does not say."""
    return pair.peer.handshakes(ground, pair.place) if pair.peer.handshakes else None


def begin(ground: Ground, pair: Pair, seconds: float, at_once: int, cut: int = 0) -> Running:
    """Begin a load: as many connections as get answered, every so manyth of them cut."""
    argv = [pair.place.outbound, str(OUTBOUND_PORT), f"{seconds:g}", str(at_once), str(cut)]
    name = f"connections-{pair.name}-{time.monotonic_ns()}"
    return ground.start(name, [sys.executable, "-m", "benchmarks.load.connections", *argv], cpu=ground.load_cpu)
