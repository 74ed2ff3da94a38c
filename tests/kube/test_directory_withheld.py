"""What a follower knows better than a directory whose API is away."""

from __future__ import annotations

from meshtx.kube.directory_service import BATCH, LOOK
from meshtx.rpc.status import Status
from tests.kube.objects import pod
from tests.kube.test_directory_service import TURN, WEB, DirectoryCase


class WithheldTests(DirectoryCase):
    def setUp(self) -> None:
        super().setUp()
        self.know(pod())
        self.followed = False

    def test_while_changes_do_not_come_a_follower_keeps_what_it_knows_of_what_nobody_had(self) -> None:
        follower = self.follower(WEB, "10.1.0.9:8080")
        self.assertEqual(follower.call.sent, [self.table(follower), self.answer(WEB)])
        self.clock.advance(LOOK)
        self.assertEqual(follower.told(), [self.answer(WEB)])
        self.followed = True
        self.clock.pump([LOOK, TURN])
        self.assertEqual(follower.told(), [self.answer("10.1.0.9:8080")])

    def test_what_it_then_learns_of_it_first_is_told(self) -> None:
        newer = pod("web-2", "10.1.0.9")
        follower = self.follower("10.1.0.9:8080")
        self.service.changed(None, newer)
        self.clock.advance(BATCH)
        self.assertEqual(follower.told(), [self.answer("10.1.0.9:8080")])
        self.clock.advance(LOOK)
        self.assertEqual(follower.told(), [])

    def test_what_is_withheld_is_looked_at_no_longer_than_somebody_waits(self) -> None:
        follower = self.follower("10.1.0.9:8080")
        follower.leave()
        self.clock.advance(LOOK)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_when_it_stops_it_looks_no_more(self) -> None:
        follower = self.follower("10.1.0.9:8080")
        self.service.stop()
        self.refused(Status.UNAVAILABLE, follower.running)
