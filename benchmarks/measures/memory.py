"""Memory: of a proxy that has just started, and of connections that do nothing."""

from __future__ import annotations

import sys
import time

from benchmarks.ground import Ground, Running
from benchmarks.measures import Figures
from benchmarks.peers.peer import OUTBOUND_PORT, Pair

FIRST = 50
IDLE = 1000
PATIENCE = 300.0
"""Seconds until all are there."""


def resident(pair: Pair) -> tuple[int, int]:
    """Return the resident memory of both proxies, bytes."""
    return pair.outbound.resident(), pair.inbound.resident()


def memory(ground: Ground, pair: Pair, _seconds: float = 0) -> Figures:
    """Measure the larger proxy of the pair after 50 requests, and what each of 1,000 idle connections adds in it."""
    hold(ground, pair, FIRST).stop()
    pair.settle()
    before = resident(pair)
    holder = hold(ground, pair, IDLE)
    pair.settle()
    after = resident(pair)
    holder.stop()
    grown = max(then - now for now, then in zip(before, after, strict=True))
    return {"base_mib": max(before) / 2**20, "idle_kib": grown / IDLE / 1024}


def hold(ground: Ground, pair: Pair, count: int, between: float = 0) -> Running:
    """Hold connections through a pair until the program that is returned is stopped.

    :param between: seconds between the ends of two.
    """
    argv = [pair.place.outbound, str(OUTBOUND_PORT), str(count), f"{between:g}"]
    name = f"{pair.name}-hold-{count}-{time.monotonic_ns()}"
    holder = ground.start(name, [sys.executable, "-m", "benchmarks.load.hold", *argv], cpu=ground.load_cpu)
    holder.until(lambda: "held" in holder.said.read_text(), "holding", PATIENCE)
    return holder
