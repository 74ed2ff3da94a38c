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

    def median(self, pair: str, figure: str) -> float | None:
        """Return the median of the rounds; nothing if it was not measured."""
        found = self.values.get(pair, {}).get(figure)
        return statistics.median(found) if found else None

    def best(self, pairs: Collection[str], figure: str) -> str | None:
        """Return who of these has the least."""
        found = {pair: value for pair in pairs if (value := self.median(pair, figure)) is not None}
        return min(found, key=found.__getitem__, default=None)

    def ratio(self, pair: str, other: str, figure: str) -> float | None:
        """Return the median of the ratios within each round, which what disturbs the machine changes least."""
        ours, theirs = (self.values.get(each, {}).get(figure, []) for each in (pair, other))
        found = [our / their for our, their in zip(ours, theirs, strict=False) if their]
        return statistics.median(found) if found else None
