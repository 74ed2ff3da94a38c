"""The series of legs: TLS connections between proxies that carry one connection after another (docs/legs.md)."""

from __future__ import annotations

from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge

from meshtx.observe.counted import Counts


class LegMetrics:
    """The series, of both sides."""

    def __init__(self, registry: CollectorRegistry) -> None:
        side = ("direction",)
        self.opened = Counter("meshtx_legs_opened", "Legs opened, each by a handshake.", side, registry=registry)
        self.reused = Counts(
            "meshtx_legs_reused", "Connections carried by a leg that had carried another one.", side, registry
        )
        self.idle = Gauge("meshtx_legs_idle", "Legs that carry no connection now.", side, registry=registry)
        self.retired = Counter("meshtx_legs_retired", "Legs ended, by reason.", (*side, "reason"), registry=registry)
        self.replayed = Counter(
            "meshtx_legs_replayed", "Connections begun again on a new leg: theirs was dead.", registry=registry
        )


class LegSeries:
    """The series of one side's legs.

    :param direction: the label.
    """

    def __init__(self, metrics: LegMetrics, direction: str) -> None:
        self._metrics = metrics
        self._direction = direction
        self.opened = metrics.opened.labels(direction).inc
        self._reused = metrics.reused.labels(direction)
        self.replayed = metrics.replayed.inc
        self.idle = metrics.idle.labels(direction).set_function

    def reused(self) -> None:
        """Count a connection on a leg that had carried another one."""
        self._reused.value += 1

    def retired(self, why: StrEnum) -> None:
        """Count one that has ended."""
        self._metrics.retired.labels(self._direction, why.value).inc()
