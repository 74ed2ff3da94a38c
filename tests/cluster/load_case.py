"""The base of tales of what a load does not notice: a client asks three replicas of a server, all the time."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tests.cluster.case import ClusterCase
from tests.cluster.objects import deployment, service
from tests.cluster.test_jobs import SERVED

RATE = 50
"""Requests a second of each load."""


@dataclass(frozen=True)
class Told:
    """The outcome of a load; times are in milliseconds."""

    answered: int
    failed: list[str]
    pods: dict[str, int]
    p50_ms: float
    p99_ms: float
    p100_ms: float

    def __str__(self) -> str:
        return (
            f"{self.answered} answered by {len(self.pods)} pods, {len(self.failed)} failed; "
            f"p50 {self.p50_ms} ms, p99 {self.p99_ms} ms, max {self.p100_ms} ms"
        )


class LoadCase(ClusterCase):
    """A tale under load on kept and on new connections."""

    def setUp(self) -> None:
        super().setUp()
        self.space = self.namespace()
        self.apply(
            *deployment(self.space, "server", ["python", "/programs/server.py"], replicas=3, **SERVED),
            *deployment(self.space, "client", ["sleep", "1000000"]),
            service(self.space, "server", "server", 80, 8080),
        )
        self.wait_for_rollout(self.space)
        command = ["python", "/programs/load.py", "server:80", "0", str(RATE)]
        self._loads = {how: self.start_program(self.space, "deploy/client", *command, how) for how in ("keep", "new")}

    def end_loads(self) -> dict[str, Told]:
        """End both, ``keep`` and ``new``; return and print what came of them, once it is clear that none failed."""
        told = {}
        for how, load in self._loads.items():
            said, _ = load.communicate()
            told[how] = Told(**json.loads(said.splitlines()[0]))
            print(f"\n{how}: {told[how]}")
        self.assertEqual({how: each.failed for how, each in told.items()}, {"keep": [], "new": []})
        return told
