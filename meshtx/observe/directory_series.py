"""The series of a sidecar that follows a directory's service (docs/directory.md)."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge


class DirectorySeries:
    """How it follows, and what it finds where the service sends it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._connected = Gauge("meshtx_directory_connected", "1 in a session with the directory.", registry=registry)
        self._answers = Gauge("meshtx_directory_answers", "Answers that are kept and followed.", registry=registry)
        sessions = Counter(
            "meshtx_directory_sessions", "Sessions with the directory, and failures.", ("result",), registry=registry
        )
        self.begun: Callable[[], None] = sessions.labels("begun").inc
        self.failed: Callable[[], None] = sessions.labels("failed").inc
        endpoints = "Times that an endpoint of a service did not take a connection."
        self.endpoint_failed: Callable[[], None] = Counter("meshtx_endpoints_failed", endpoints, registry=registry).inc

    def watch(self, connected: Callable[[], bool], answers: Callable[[], int]) -> None:
        """Show what these return."""
        self._connected.set_function(connected)
        self._answers.set_function(answers)
