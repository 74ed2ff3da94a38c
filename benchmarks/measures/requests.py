"""Requests on connections that are kept: wrk."""

from __future__ import annotations

import math
import re
import time

from benchmarks import servers
from benchmarks.ground import Ground, Running
from benchmarks.measures import Figures
from benchmarks.peers.peer import Pair
from meshtx.demo.lab import LabError

MANY = 32
BEGIN, END = 0.7, 0.3
"""Seconds in which the connections are made, and what the load goes on for after the last look."""
FEWEST = 100
"""Requests a second; where there are fewer the machine was at something else."""
MEANT = 2.0
"""Seconds that wrk needs at least to find out a maximum."""

_UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6}


def kept_alive(ground: Ground, pair: Pair, seconds: float) -> Figures:
    """Measure 32 connections together, then one alone.

    :raises LabError: the one alone got no answer.
    """
    many = begin(ground, pair, seconds + BEGIN + END, MANY)
    cost = request_cost(ground, pair, seconds)
    all_said = _report(many)
    one_said = _report(begin(ground, pair, seconds / 2, 1))
    if not one_said["requests"]:
        raise LabError(f"no request through {pair.name} was answered; wrk said:\n{one_said}")
    return {
        **cost,
        "requests_per_s": all_said["per_second"],
        "requests_failed": all_said["failed"] + one_said["failed"],
        "alone_p50_us": one_said["p50"],
        "alone_p99_us": one_said["p99"],
    }


def request_cost(ground: Ground, pair: Pair, seconds: float) -> Figures:
    """Return the CPU µs a request of a load that has just been started and goes on long enough.

    :raises LabError: next to none reached the server.
    """
    time.sleep(BEGIN)
    used, kernel, served = pair.cpu(), pair.kernel(), servers.requests(ground)
    time.sleep(seconds)
    used, kernel, served = pair.cpu() - used, pair.kernel() - kernel, servers.requests(ground) - served
    if served < FEWEST * seconds:
        raise LabError(f"{served} requests through {pair.name} reached the server in {seconds:g} s")
    return {"request_cpu_us": 1e6 * used / served, "request_kernel_us": 1e6 * kernel / served}


def most(ground: Ground, pair: Pair, seconds: float) -> float:
    """Return how many requests a second 32 connections get answered.

    :raises LabError: next to none was.
    """
    wrk = begin(ground, pair, max(seconds, MEANT), MANY)
    found = _report(wrk)["per_second"]
    if found < FEWEST:
        raise LabError(f"{found:g} requests/s through {pair.name}; wrk said:\n{wrk.said.read_text()}")
    return found


def begin(ground: Ground, pair: Pair, seconds: float, connections: int) -> Running:
    """Begin a load: as many requests as get answered."""
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{math.ceil(seconds)}s", "--latency", pair.url]  # whole ones only
    return ground.start(f"wrk-{pair.name}-{time.monotonic_ns()}", argv, cpu=ground.load_cpu)


def _report(wrk: Running) -> dict[str, float]:
    wrk.process.wait()
    return read(wrk.said.read_text())


def read(said: str) -> dict[str, float]:
    """Read wrk's report.

    :raises LabError: it is none.
    """
    if "requests in" not in said:
        raise LabError(f"wrk failed:\n{said}")
    found = {f"p{share}": float(number) * _UNITS[unit] for share, number, unit in _LATENCY.findall(said)}
    (requests,) = re.findall(r"(\d+) requests in", said)
    (per_second,) = re.findall(r"Requests/sec:\s+([\d.]+)", said)
    failures = re.findall(r"Non-2xx or 3xx responses: (\d+)", said)
    for errors in re.findall(r"Socket errors: (.*)", said):
        failures += re.findall(r"\d+", errors)
    return {**found, "requests": int(requests), "per_second": float(per_second), "failed": sum(map(int, failures))}


_LATENCY = re.compile(r"^\s+(\d+)%\s+([\d.]+)(us|ms|s)$", re.MULTILINE)
