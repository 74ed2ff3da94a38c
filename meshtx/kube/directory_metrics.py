"""The series of the directory's program, beside those that every program has."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge

from meshtx.kube.watching import Turn


class DirectoryMetrics:
    """How well the cluster is followed, and by how many the directory is.

    :param sessions: returns how many follow; `subscriptions`: how many addresses they have asked for.
    """

    def __init__(
        self, registry: CollectorRegistry, sessions: Callable[[], float], subscriptions: Callable[[], float]
    ) -> None:
        self._age = Gauge(
            "meshtx_watch_age_seconds",
            "Seconds since the API server was last heard of, by resource; NaN before the first list.",
            ("resource",),
            registry=registry,
        )
        self._objects = Gauge("meshtx_watch_objects", "Objects known, by resource.", ("resource",), registry=registry)
        self._turns = Counter(
            "meshtx_watch_turns", "What has happened to the watches.", ("resource", "turn"), registry=registry
        )
        Gauge("meshtx_directory_sessions", "Sidecars that follow.", registry=registry).set_function(sessions)
        Gauge("meshtx_directory_subscriptions", "Addresses that they have asked for.", registry=registry).set_function(
            subscriptions
        )

    def watch(self, resource: str, age: Callable[[], float | None], objects: Callable[[], float]) -> None:
        """Show a watch.

        :param age: seconds since the server was heard of; ``None``: not yet.
        """
        self._age.labels(resource).set_function(lambda: float("nan") if (known := age()) is None else known)
        self._objects.labels(resource).set_function(objects)

    def turned(self, resource: str, turn: Turn) -> None:
        """Count what has happened to a watch."""
        self._turns.labels(resource, turn.value).inc()
