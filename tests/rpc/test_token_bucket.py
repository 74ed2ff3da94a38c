from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshtx.rpc.token_bucket import TokenBucket


class TokenBucketTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.bucket = TokenBucket(self.clock.seconds, burst=10, rate=2)

    def take_all(self) -> int:
        taken = 0
        while self.bucket.take():
            taken += 1
        return taken

    def test_it_ends(self) -> None:
        self.assertEqual(self.take_all(), 10)

    def test_it_refills_with_time(self) -> None:
        self.take_all()
        self.clock.advance(1.5)
        self.assertEqual(self.take_all(), 3)

    def test_a_refill_counts_at_once(self) -> None:
        self.take_all()
        self.bucket.refill(4)
        self.assertFalse(self.bucket.take(5))
        self.assertTrue(self.bucket.take(4))
        self.bucket.refill(1000)
        self.assertEqual(self.take_all(), 10)

    def test_it_never_holds_more_than_at_first(self) -> None:
        self.clock.advance(1000)
        self.assertEqual(self.take_all(), 10)
