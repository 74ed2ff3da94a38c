"""A deadline that is moved makes no delayed call, and comes when it is to come."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshtx.net.deadline import Deadline


class DeadlineTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.deadline = Deadline(self.clock)
        self.called: list[tuple[str, float]] = []

    def set(self, seconds: float, name: str) -> None:
        self.deadline.set(seconds, lambda: self.called.append((name, self.clock.seconds())))

    def pump(self, seconds: int) -> None:
        self.clock.pump([1] * seconds)

    def test_it_comes_once(self) -> None:
        self.set(3, "a")
        self.pump(20)
        self.assertEqual(self.called, [("a", 3)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_that_is_moved_on_makes_no_other_call(self) -> None:
        self.set(10, "a")
        [call] = self.clock.getDelayedCalls()
        self.pump(4)
        self.set(10, "b")
        self.assertEqual((self.clock.getDelayedCalls(), call.getTime()), ([call], 10))
        self.pump(30)
        self.assertEqual(self.called, [("b", 14)])

    def test_one_that_is_moved_on_by_little_does_not_come_before(self) -> None:
        self.set(10, "a")
        self.pump(1)
        self.set(10, "b")
        self.pump(30)
        self.assertEqual(self.called, [("b", 11)])

    def test_one_that_is_moved_nearer_comes_earlier(self) -> None:
        self.set(10, "a")
        self.set(2, "b")
        self.pump(30)
        self.assertEqual(self.called, [("b", 2)])

    def test_one_that_is_cleared_does_not_come(self) -> None:
        self.set(10, "a")
        self.deadline.clear()
        self.pump(30)
        self.assertEqual(self.called, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_that_was_cleared_may_be_set_again(self) -> None:
        self.set(10, "a")
        self.deadline.clear()
        self.pump(3)
        self.set(10, "b")
        self.pump(30)
        self.assertEqual(self.called, [("b", 13)])

    def test_a_stop_leaves_nothing(self) -> None:
        self.set(10, "a")
        self.deadline.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.deadline.stop()

    def test_it_may_set_itself_again(self) -> None:
        self.deadline.set(1, lambda: self.set(1, "again"))
        self.pump(5)
        self.assertEqual(self.called, [("again", 2)])
