"""The rotation of as many replicas as there may be, all at the same time."""

from __future__ import annotations

from cryptography import x509
from twisted.internet.task import Clock, deferLater

from meshtx.kube.api_errors import Object
from meshtx.kube.serving_certificate import Generation
from meshtx.kube.serving_rotation import EVERY, SWITCH
from meshtx.kube.settings.install import MOST_REPLICAS
from tests.kube.serving_case import Case, Store

REPLICAS = 8
"""As docs/kubernetes.md says."""
MOMENT = 0.1
"""Seconds of one answer."""


class SlowStore(Store):
    """One whose answers take a moment: who asks at the same time reads the same, and one of them may write."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    async def get(self, path: str) -> Object:
        found = await super().get(path)
        await deferLater(self.clock, MOMENT)
        return found

    async def patch(self, path: str, body: list[Object], kind: str) -> Object:
        await deferLater(self.clock, MOMENT)
        return await super().patch(path, body, kind)


class ManyTests(Case):
    """As many replicas as there may be, and the one more that a rollout starts."""

    def setUp(self) -> None:
        super().setUp()
        self.store = SlowStore(self.clock)
        self.each: list[list[Generation]] = [[] for _ in range(REPLICAS + 1)]
        self.rotations = [self.started(served) for served in self.each]

    def wait(self, seconds: float) -> None:
        self.clock.pump([MOMENT] * int(seconds / MOMENT))

    def newest(self) -> set[x509.Certificate]:
        return {served[-1].authority for served in self.each}

    def test_no_more_can_be_installed(self) -> None:
        self.assertEqual(MOST_REPLICAS, REPLICAS)

    def test_all_that_begin_at_once_are_believed(self) -> None:
        """Each at its first attempt, though all write at the same moments."""
        for _ in range(int(EVERY / MOMENT)):
            self.clock.advance(MOMENT)
            self.assertEqual({each.problem for each in self.rotations}, {None})
        self.assertEqual({each.ready_reason() for each in self.rotations}, {None})
        self.assertEqual(set(self.believed()), self.newest())

    def test_all_that_renew_at_once_are_believed_with_a_few_writes(self) -> None:
        self.wait(EVERY)
        first = self.newest()
        self.until(max(served[0].renew_at() for served in self.each))
        before = self.store.writes
        ready = set()
        for _ in range(int((SWITCH + 3 * EVERY) / EVERY)):
            self.wait(EVERY)
            ready |= {each.ready_reason() for each in self.rotations}
        self.assertEqual([len(served) for served in self.each], [2] * len(self.each))
        self.assertEqual(set(self.believed()), first | self.newest())
        self.assertEqual(ready, {None})
        entries = len(self.store.configuration["webhooks"])
        self.assertEqual(self.store.writes - before, len(self.each) * entries)  # each wrote once
