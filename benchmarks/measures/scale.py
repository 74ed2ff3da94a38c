"""What a connection and a request cost where there is much of everything, beside where there is little."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from benchmarks.ground import Ground
from benchmarks.load.paced import WARM
from benchmarks.measures import Figures, connections, latency, memory, requests
from benchmarks.peers.meshtx import ADMIN_PORT, Meshtx, tap
from benchmarks.peers.peer import OUTBOUND_PORT, Pair, Peer
from benchmarks.peers.running import running
from benchmarks.results import Results
from benchmarks.servers import REQUESTS_PORT

LEGS = 10_000
ENTRIES = 5_000
RATE = 1_000
BETWEEN = 0.002
"""Seconds between the ends of two connections: thousands in one moment would be another test."""
SPARE = 2_000
"""Descriptors that are left for everything but the legs and what they carry."""

LITTLE = Peer("little", Meshtx(changes=("many_legs",)).commands)
ENTERED = Peer("entries-5000", Meshtx(entries=ENTRIES).commands)
IDLING = Peer("idle-legs", Meshtx(changes=("many_legs",)).commands)
STEADY = Peer("steady-1000", Meshtx().commands)
TAPPED = Peer("tapped-1000", Meshtx().commands, beside=tap)

_IDLE = re.compile(r'^meshtx_legs_idle\{direction="outbound"\} (\S+)$', re.MULTILINE)
_LINES = 6
"""Lines of tap for a request: begin, answer and end, by both proxies."""


def scale(ground: Ground, rounds: int, seconds: float) -> Results:
    """Measure each case in each round."""
    results = Results()
    with running(ground, (LITTLE, ENTERED, IDLING, STEADY, TAPPED), REQUESTS_PORT) as pairs:
        for _ in range(rounds):
            _round(ground, pairs, seconds, results)
    return results


def _round(ground: Ground, pairs: Sequence[Pair], seconds: float, results: Results) -> None:
    for pair in pairs:
        pair.settle()
        if pair.peer in (STEADY, TAPPED):
            results.add(pair.name, _steady(ground, pair, seconds))
        else:
            legs = _with_legs(ground, pair) if pair.peer is IDLING else {}
            results.add(pair.name, {**legs, **_costs(ground, pair, seconds)})


def _costs(ground: Ground, pair: Pair, seconds: float) -> Figures:
    asked = requests.kept_alive(ground, pair, seconds)
    connected = connections.new(ground, pair, seconds)
    return {
        **{key: asked[key] for key in ("request_cpu_us", "alone_p50_us", "requests_failed")},
        **{key: connected[key] for key in ("connection_cpu_us", "first_byte_p50_us", "connections_failed")},
    }


def _with_legs(ground: Ground, pair: Pair) -> Figures:
    """Have as many idle legs as there may be: by as many connections at once, which then all end."""
    count = min(LEGS, (ground.descriptors - SPARE) // 2)
    before = sum(memory.resident(pair))
    memory.hold(ground, pair, count, BETWEEN).stop(memory.PATIENCE)
    pair.settle()
    (idle,) = _IDLE.findall(ground.page(f"http://{pair.place.outbound}:{ADMIN_PORT}/metrics"))
    grown = sum(memory.resident(pair)) - before
    return {"idle_legs": float(idle), "leg_kib": grown / 2 / count / 1024}


def _steady(ground: Ground, pair: Pair, seconds: float) -> Figures:
    """Measure requests at a steady rate, and what of them is tapped."""
    tapped = _tapped(pair)
    load = latency.begin(ground, (pair.place.outbound, OUTBOUND_PORT), requests.BEGIN + seconds + requests.END, RATE)
    cost = requests.request_cost(ground, pair, seconds)
    said = load.report()
    figures = {**cost, **{f"request_{share}_us": said["ns"][share] / 1e3 for share in ("p50", "p99")}}
    if pair.others:
        pair.settle()
        time.sleep(1)  # `meshtx tap` still writes what it has got
        figures["tapped"] = (_tapped(pair) - tapped) / _LINES / (said["done"] + WARM * requests.MANY)
    return figures


def _tapped(pair: Pair) -> int:
    return sum(len(each.said.read_bytes().splitlines()) for each in pair.others)
