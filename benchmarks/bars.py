"""What must hold, as ratios within one run."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.results import Results

HANDSHAKING = ("envoy-tcp", "haproxy", "nginx", "stunnel")
"""Peers that carry bytes, and make a handshake for each connection."""


@dataclass(frozen=True)
class Bar:
    """A figure of ours is at most so many times the best of some peers', or at most so much."""

    what: str
    pair: str
    figure: str
    most: float
    than: tuple[str, ...] = ()

    def judge(self, results: Results) -> str | None:
        """Return a line that says whether it holds; nothing if it was not measured."""
        if not self.than:
            value, unit = results.median(self.pair, self.figure), ""
        else:
            best = results.best(self.than, self.figure)
            value, unit = (results.ratio(self.pair, best, self.figure), f" x {best}") if best else (None, "")
        if value is None:
            return None
        return f"{'PASS' if value <= self.most else 'FAIL'}  {self.what}: {value:.2f}{unit}, at most {self.most:g}"


BARS = (
    Bar("CPU a kept-alive request, opaque", "meshtx", "request_cpu_us", 1.25, ("envoy-tcp",)),
    Bar("CPU a kept-alive request, HTTP observed", "meshtx-http", "request_cpu_us", 0.6, ("envoy-http",)),
    Bar("CPU a new connection, warm legs", "meshtx", "connection_cpu_us", 0.25, HANDSHAKING),
    Bar("connect and first byte p50, warm legs", "meshtx", "first_byte_p50_us", 0.3, HANDSHAKING),
    Bar("CPU a new connection, cold", "meshtx-cold", "connection_cpu_us", 2.2, ("envoy-tcp",)),
    Bar("CPU of bulk down", "meshtx", "bulk_down_cpu_s_per_gib", 1.3, HANDSHAKING),
    Bar("CPU of bulk up", "meshtx", "bulk_up_cpu_s_per_gib", 1.3, HANDSHAKING),
    Bar("memory of a proxy at start, MiB", "meshtx", "base_mib", 50),
    Bar("memory of an idle connection, KiB", "meshtx", "idle_kib", 40),
    Bar("added latency p50 at half of the own maximum", "meshtx", "half_p50_us", 2, HANDSHAKING),
    Bar("added latency p99 at half of the own maximum", "meshtx", "half_p99_us", 2, HANDSHAKING),
)


def judged(results: Results) -> list[str]:
    """Return a line for each bar that was measured."""
    return [line for bar in BARS if (line := bar.judge(results))]
