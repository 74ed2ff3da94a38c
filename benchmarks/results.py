"""What was measured: for each pair and figure, one value a round."""

from __future__ import annotations

import statistics
from collections.abc import Collection
from dataclasses import dataclass, field

from benchmarks.measures import Figures


@dataclass
class Results:
    """Values by pair and figure, in the order of the rounds."""

    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, pair: str, figures: Figures) -> None:
        """Take what one measure of one round has found."""
        for figure, value in figures.items():
            self.values.setdefault(pair, {}).setdefault(figure, []).append(value)

    def series(self, pair: str, figure: str) -> list[float]:
        """Return all values; none if it was not measured."""
        return self.values.get(pair, {}).get(figure, [])

    def median(self, pair: str, figure: str) -> float | None:
        """Return the median of the rounds; nothing if it was not measured."""
        found = self.series(pair, figure)
        return statistics.median(found) if found else None

    def best(self, pairs: Collection[str], figure: str) -> str | None:
        """Return who of these has the least."""
        found = {pair: value for pair in pairs if (value := self.median(pair, figure)) is not None}
        return min(found, key=found.__getitem__, default=None)

    def ratio(self, pair: str, other: str, figure: str) -> float | None:
        """Return the median of the ratios within each round, which what disturbs the machine changes least.

        What is a difference may come out below zero, by the noise of what it is taken from. Such a round has no ratio,
        and those without it would be the worse ones: so then it is the ratio of the medians, if there is one.
        """
        ours, theirs = self.series(pair, figure), self.series(other, figure)
        if not ours or not theirs:
            return None
        if min(*ours, *theirs) > 0:
            return statistics.median(our / their for our, their in zip(ours, theirs, strict=False))
        their_median = statistics.median(theirs)
        return statistics.median(ours) / their_median if their_median > 0 else None

    def growth(self, pair: str, figure: str, per: str = "") -> tuple[float, float] | None:
        """Return what a series that grew with time was at first, its start left out, and at last.

        Both are the least of a fifth of it: what has been left behind is in each look, and what comes and goes is not.

        :param per: another figure, of which there must be as many; what is followed is how many times that it is.
        """
        found = self.series(pair, figure)
        if per:
            found = [value / of for value, of in zip(found, self.series(pair, per), strict=True)]
        fifth = len(found) // 5
        if not fifth:
            return None
        return min(found[fifth : 2 * fifth]), min(found[-fifth:])
