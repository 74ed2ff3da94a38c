"""What must hold, as ratios within one run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Protocol

from benchmarks.record import Record
from benchmarks.results import Results

HANDSHAKING = ("envoy-tcp", "haproxy", "nginx", "stunnel")
"""Peers that carry bytes, and make a handshake for each connection."""

CARRYING = (*HANDSHAKING, "envoy-connect")
"""Peers that carry bytes."""

_PAIRS: Callable[[Record], Results] = attrgetter("pairs")
_SCALE: Callable[[Record], Results] = attrgetter("scale")


class IBar(Protocol):
    """One line about what must hold."""

    def judge(self, record: Record) -> str | None:
        """Return whether it holds and its figures; nothing if they were not measured."""


def verdict(value: float, most: float | None) -> str:
    """Return a word: whether a value is at most so much; without a bar, that it is only shown."""
    return "shown" if most is None else "PASS" if value <= most else "FAIL"


def _line(number: int, what: str, value: float, most: float | None, figures: str) -> str:
    bar = f", at most {most:g}" if most is not None else ""
    return f"{verdict(value, most):5}  {number}  {what}: {figures}{bar}"


@dataclass(frozen=True)
class Ratio:
    """A figure of ours is at most so many times the best of some others'.

    :param number: of the bar that it is a part of.
    :param most: nothing: the ratio is only shown.
    """

    number: int
    what: str
    pair: str
    figure: str
    most: float | None
    than: tuple[str, ...]
    within: Callable[[Record], Results] = _PAIRS

    def judge(self, record: Record) -> str | None:
        """See `IBar`."""
        results = self.within(record)
        best = results.best(self.than, self.figure)
        ratio = results.ratio(self.pair, best, self.figure) if best else None
        if best is None or ratio is None:
            return None
        ours, theirs = (results.median(each, self.figure) for each in (self.pair, best))
        figures = f"{ratio:.2f} x {best} ({self.pair} {ours:.4g}, {best} {theirs:.4g})"
        return _line(self.number, self.what, ratio, self.most, figures)


@dataclass(frozen=True)
class Most:
    """A figure of ours is at most so much.

    :param most: nothing: the figure is only shown.
    """

    number: int
    what: str
    pair: str
    figure: str
    most: float | None

    def judge(self, record: Record) -> str | None:
        """See `IBar`."""
        value = record.pairs.median(self.pair, self.figure)
        return None if value is None else _line(self.number, self.what, value, self.most, f"{value:.1f}")


@dataclass(frozen=True)
class Flat:
    """What very many connections leave behind does not grow: it is at the end at most so many times what it was.

    :param per: another figure: what is followed is how many there are for each of that.
    """

    number: int
    what: str
    figure: str
    most: float
    per: str = ""

    def judge(self, record: Record) -> str | None:
        """See `IBar`."""
        found = {
            pair: growth for pair in record.churn.values if (growth := record.churn.growth(pair, self.figure, self.per))
        }
        if not found:
            return None
        grown = {pair: last / first for pair, (first, last) in found.items()}
        worst = max(grown, key=grown.__getitem__)
        first, last = found[worst]
        figures = f"{grown[worst]:.3f} times ({first:.5g} to {last:.5g}, {worst})"
        return _line(self.number, self.what, grown[worst], self.most, figures)


BARS: tuple[IBar, ...] = (
    Ratio(1, "CPU a kept-alive request, opaque", "meshtx", "request_cpu_us", 1.25, ("envoy-tcp",)),
    Ratio(1, "the same, nested in the default reactor", "meshtx-nested", "request_cpu_us", None, ("envoy-tcp",)),
    Ratio(1, "CPU a kept-alive request, HTTP observed", "meshtx-http", "request_cpu_us", 0.6, ("envoy-http",)),
    Ratio(1, "the same with one tap subscriber", "meshtx-tap", "request_cpu_us", None, ("envoy-http",)),
    Ratio(1, "CPU a kept-alive request, the floor", "bare", "request_cpu_us", None, ("envoy-tcp",)),
    Ratio(1, "the floor, which observes nothing, beside HTTP", "bare", "request_cpu_us", None, ("envoy-http",)),
    Ratio(2, "CPU a new connection, warm legs", "meshtx", "connection_cpu_us", 0.25, HANDSHAKING),
    Ratio(2, "connect and first byte p50, warm legs", "meshtx", "first_byte_p50_us", 0.3, HANDSHAKING),
    Ratio(2, "CPU a new connection, HTTP observed", "meshtx-http", "connection_cpu_us", 0.25, HANDSHAKING),
    Ratio(2, "CPU a new connection, beside a tunnel", "meshtx", "connection_cpu_us", None, ("envoy-connect",)),
    Ratio(2, "connect and first byte p50, beside a tunnel", "meshtx", "first_byte_p50_us", None, ("envoy-connect",)),
    Ratio(2, "CPU a new connection, the floor", "bare", "connection_cpu_us", None, HANDSHAKING),
    Ratio(2, "connect and first byte p50, the floor", "bare", "first_byte_p50_us", None, HANDSHAKING),
    Ratio(2, "CPU a new connection, cold", "meshtx-cold", "connection_cpu_us", 2.2, ("envoy-tcp",)),
    Ratio(3, "CPU of bulk down", "meshtx", "bulk_down_cpu_s_per_gib", 1.3, CARRYING),
    Ratio(3, "CPU of bulk up", "meshtx", "bulk_up_cpu_s_per_gib", 1.3, CARRYING),
    Ratio(3, "CPU of bulk down, the floor", "bare", "bulk_down_cpu_s_per_gib", None, CARRYING),
    Ratio(3, "CPU of bulk up, the floor", "bare", "bulk_up_cpu_s_per_gib", None, CARRYING),
    Most(4, "MiB of a proxy at start, opaque", "meshtx", "base_mib", 50),
    Most(4, "MiB of a proxy at start, HTTP observed", "meshtx-http", "base_mib", 50),
    Most(4, "MiB of a proxy at start, the floor", "bare", "base_mib", None),
    Most(4, "KiB an idle connection, opaque", "meshtx", "idle_kib", 40),
    Most(4, "KiB an idle connection, HTTP observed", "meshtx-http", "idle_kib", 40),
    Most(4, "KiB an idle connection, the floor", "bare", "idle_kib", None),
    Flat(4, "memory under churn", "rss_mib", 1.03),
    Flat(4, "descriptors under churn", "descriptors", 1.1),
    # An idle leg has its own, and there are now more of them and now fewer.
    Flat(4, "objects of Python under churn, a descriptor", "objects", 1.05, per="descriptors"),
    Ratio(5, "added latency p50 at half of the own maximum", "meshtx", "half_p50_us", 2, CARRYING),
    Ratio(5, "added latency p99 at half of the own maximum", "meshtx", "half_p99_us", 2, CARRYING),
    *(
        Ratio(0, f"{what}, {case} beside little", case, figure, most, ("little",), _SCALE)
        for case in ("entries-5000", "idle-legs")
        for what, figure, most in (
            ("CPU a kept-alive request", "request_cpu_us", 1.25),
            ("CPU a new connection", "connection_cpu_us", 1.25),
        )
    ),
    Ratio(0, "CPU a request, tapped beside not", "tapped-1000", "request_cpu_us", None, ("steady-1000",), _SCALE),
)
"""By the numbers of the issue's bars; 0: cost as work grows, which has no number."""


def judged(record: Record, bars: Iterable[IBar] = BARS) -> list[str]:
    """Return a line for each bar that was measured."""
    return [line for bar in bars if (line := bar.judge(record))]
