"""Series that change with every request: plain numbers, read when somebody asks for the metrics.

A step of prometheus-client's own counters takes a lock, and its histograms try one bound after
another: more than all the rest of what is done for a request. Here one thread counts and shows.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

Labels = tuple[str, ...]


class Count:
    """One series of a counter: whoever has something to count adds to `value`."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class Counts(Collector):
    """A counter with labels."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        self._about = name, documentation, labels
        self._series: dict[Labels, Count] = {}
        registry.register(self)

    def labels(self, *values: str) -> Count:
        """Return the series with these values of the labels; from then on it is shown."""
        return self._series.setdefault(values, Count())

    def describe(self) -> Iterable[CounterMetricFamily]:
        """Return it without its series."""
        name, documentation, labels = self._about
        return [CounterMetricFamily(name, documentation, labels=labels)]

    def collect(self) -> Iterable[CounterMetricFamily]:
        """Return it as it is now."""
        for family in self.describe():
            for values, count in self._series.items():
                family.add_metric(values, count.value)
            yield family


class Spread:
    """One series of a histogram."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value in the first bucket whose bound it does not pass."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Spreads(Collector):
    """A histogram with labels.

    :param bounds: of its buckets, rising; that of all values is added.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        bounds: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self._about = name, documentation, labels
        self._bounds = tuple(bounds)
        self._names = [floatToGoString(bound) for bound in (*bounds, float("inf"))]
        self._series: dict[Labels, Spread] = {}
        registry.register(self)

    def labels(self, *values: str) -> Spread:
        """Return the series with these values of the labels; from then on it is shown."""
        return self._series.setdefault(values, Spread(self._bounds))

    def describe(self) -> Iterable[HistogramMetricFamily]:
        """Return it without its series."""
        name, documentation, labels = self._about
        return [HistogramMetricFamily(name, documentation, labels=labels)]

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """Return it as it is now; each bucket counts all values up to its bound."""
        for family in self.describe():
            for values, spread in self._series.items():
                buckets = list(zip(self._names, accumulate(spread.counts), strict=True))
                family.add_metric(values, buckets, spread.sum)
            yield family
