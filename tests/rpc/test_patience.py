from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshtx.rpc.patience import Patience


class PatienceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.patience = Patience(self.clock.seconds, burst=10, rate=2)

    def spend(self) -> int:
        """Spend all there is."""
        spent = 0
        while self.patience.spend():
            spent += 1
        return spent

    def test_it_ends(self) -> None:
        self.assertEqual(self.spend(), 10)

    def test_it_comes_back_with_time(self) -> None:
        self.spend()
        self.clock.advance(1.5)
        self.assertEqual(self.spend(), 3)

    def test_what_is_earned_is_there_at_once(self) -> None:
        self.spend()
        self.patience.earn(4)
        self.assertFalse(self.patience.spend(5))
        self.assertTrue(self.patience.spend(4))
        self.patience.earn(1000)
        self.assertEqual(self.spend(), 10)

    def test_it_is_never_more_than_at_first(self) -> None:
        self.clock.advance(1000)
        self.assertEqual(self.spend(), 10)
