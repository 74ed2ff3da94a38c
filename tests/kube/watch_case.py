"""A watch of an API that answers as it is told, and a clock that moves as it is told."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshtx.kube.api_errors import ApiUnavailable, Object
from meshtx.kube.watching import Change, Turn, Watched
from tests.kube.scripted_watch import (
    ScriptedApi,
    Stream,
    added,
    end_of_list,
)

PATH = "/api/v1/pods"
TROUBLE = ApiUnavailable("GET /api/v1/pods: connection lost")


class WatchedCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.api = ScriptedApi()
        self.clock = Clock()
        self.changes: list[Change[str]] = []
        self.turns: list[Turn] = []
        self.recovered = 0
        self.dice = 0.5
        self.watched = self.make()
        self.watched.startService()
        self.addCleanup(self.stop)

    def make(self, selector: str = "") -> Watched[str]:
        return Watched(
            self.api,
            PATH,
            self.keep,
            self.changed,
            self.clock,
            selector=selector,
            rng=lambda: self.dice,
            turned=self.turned,
            recovered=self.again,
        )

    def keep(self, found: Object) -> str | None:
        if found["label"] == "broken":
            raise ValueError(found["label"])
        return found["label"] or None

    def changed(self, change: Change[str]) -> None:
        self.changes.append(change)

    def turned(self, turn: Turn) -> None:
        self.turns.append(turn)

    def again(self) -> None:
        self.recovered += 1

    def stop(self) -> None:
        if self.watched.running:
            self.watched.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def listed(self, *labels: str, version: int = 10) -> Stream:
        """Let the list come as a stream: objects a, b, c... with these labels."""
        stream = self.api.last
        stream.send(*(added(name, 1, label) for name, label in zip("abcdef", labels, strict=False)))
        stream.send(end_of_list(version))
        self.changes.clear()
        return stream

    def waits(self) -> float:
        """Return how long the watch waits now, and let it pass."""
        [call] = self.clock.getDelayedCalls()
        wait = call.getTime() - self.clock.seconds()
        self.clock.pump([wait])
        return wait
