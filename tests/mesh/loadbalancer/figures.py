"""What was measured, put together: percentiles, the table, and the bars."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.mesh.loadbalancer.asker import Answer
from tests.mesh.loadbalancer.street import SERVICES, Proxy, Traffic

KINDS = ("passthrough", "mtls")
MS = 1000.0
Cell = tuple[Traffic, Proxy, str]
CELLS: list[Cell] = [
    (traffic, proxy, kind) for traffic, proxy in SERVICES for kind in (KINDS[:1] if proxy is Proxy.NONE else KINDS)
]
"""What is measured. The cell without a proxy tells how long the machine itself makes a client wait."""
KNOWN = {Traffic.CLUSTER: "obscured", Traffic.LOCAL: "direct", Traffic.UNDECLARED: "direct"}
"""As what the proxy is to know its clients."""


@dataclass(frozen=True)
class Bar:
    """One thing that must be so."""

    what: str
    met: bool

    def __str__(self) -> str:
        return f"{'PASS' if self.met else 'FAIL'}  {self.what}"


def percentile(values: Sequence[float], part: float) -> float:
    """Return the least of the values that is not below this part of them."""
    return sorted(values)[max(math.ceil(part * len(values)) - 1, 0)]


@dataclass
class Figures:
    """The times of a cell, milliseconds, a list for each round; who was not answered counts as the deadline.

    :param deadline: seconds that each hello was waited for.
    """

    deadline: float
    rounds: list[list[float]] = field(default_factory=list)
    unanswered: int = 0

    def add(self, answers: Iterable[Answer]) -> None:
        """Take a round."""
        times = []
        for answer in answers:
            good = answer.hello is not None and answer.echoed
            self.unanswered += not good
            times.append(MS * answer.hello if good and answer.hello is not None else MS * self.deadline)
        self.rounds.append(times)

    @property
    def all(self) -> list[float]:
        return [each for times in self.rounds for each in times]

    @property
    def medians(self) -> list[float]:
        """The p50 of each round."""
        return [percentile(times, 0.5) for times in self.rounds]

    @property
    def median(self) -> float:
        """The median of the rounds' p50."""
        return statistics.median(self.medians)

    def __str__(self) -> str:
        shown = [f"{percentile(self.all, part):8.1f}" for part in (0.5, 0.99, 1)]
        return f"{len(self.all):6} {self.unanswered:10} {' '.join(shown)}   {self.median:8.1f}"


def table(cells: dict[Cell, Figures]) -> str:
    """Return the table that is printed, times in ms."""
    lines = [
        "From ClientHello to ServerHello, ms; who was not answered counts as the time that was waited for.",
        "policy     proxy   TLS         hellos unanswered      p50      p99      max   median of rounds' p50",
    ]
    lines += [
        f"{traffic:10} {proxy.name.lower():7} {kind:11} {figures}" for (traffic, proxy, kind), figures in cells.items()
    ]
    return "\n".join(lines)


def bars(cells: dict[Cell, Figures]) -> list[Bar]:
    """Return what must be so, and whether it is."""
    found = []
    for kind in KINDS:
        local = cells[Traffic.LOCAL, Proxy.MESHTX, kind]
        for traffic in (Traffic.CLUSTER, Traffic.UNDECLARED):
            found += _bars(f"{kind}: {{}} under {traffic}", cells[traffic, Proxy.MESHTX, kind], local)
        control = percentile(cells[Traffic.CLUSTER, Proxy.SERIAL, kind].all, 0.5)
        found.append(Bar(f"{kind}: the serial control stalls, p50 {control:.0f} ms > 1000 ms", control > 1000))
    return found


def _bars(what: str, cluster: Figures, local: Figures) -> list[Bar]:
    p50, p99, most = cluster.median, percentile(cluster.all, 0.99), percentile(cluster.all, 1)
    return [
        Bar(f"{what.format('p99')} {p99:.1f} ms < 25 ms", p99 < 25),
        Bar(
            f"{what.format('every hello')} answered, the last in {most:.1f} ms < 1000 ms",
            most < 1000 and not cluster.unanswered,
        ),
        Bar(
            f"{what.format('p50')} {p50:.1f} ms <= 1.2 x {local.median:.1f} ms (Local) + 1 ms",
            p50 <= 1.2 * local.median + 1,
        ),
    ]


def known(seen: dict[Traffic, set[tuple[str, str]]]) -> list[Bar]:
    """Return whether clients are known as what they are.

    :param seen: by policy: how clients were known, and their addresses.
    """
    return [
        Bar(
            f"known under {traffic}: {', '.join(f'{how} {who}' for how, who in found)}",
            {how for how, _ in found} == {KNOWN[traffic]},
        )
        for traffic, found in seen.items()
    ]
