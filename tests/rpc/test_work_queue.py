from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshtx.rpc.work_queue import BURST, SLICE, WorkQueue


class Connection:
    """A worker with a number of slices to process, each logged."""

    def __init__(self, name: str, queue: WorkQueue, log: list[str], slices: int, cost: int = SLICE) -> None:
        self.name, self.queue, self.log = name, queue, log
        self.slices, self.cost = slices, cost

    def process_slice(self) -> int:
        self.log.append(self.name)
        self.slices -= 1
        if self.slices:
            self.queue.enqueue(self)
        return self.cost


class Queues(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.queue = WorkQueue(self.clock)
        self.log: list[str] = []

    def enqueue(self, name: str, slices: int, cost: int = SLICE) -> None:
        self.queue.enqueue(Connection(name, self.queue, self.log, slices, cost))

    def turns(self) -> list[str]:
        """Return what each turn of the reactor processes, until nothing waits."""
        turns = []
        while calls := self.clock.getDelayedCalls():
            turn = calls[0].func
            calls[0].cancel()
            turn()  # a reactor calls in a turn what was there before it; this clock would go on
            turns.append("".join(self.log))
            self.log.clear()
        return turns

    def work_at_once(self) -> int:
        """Return the cost of what is processed without a queue."""
        done = 0
        while self.queue.may_start():
            self.queue.charge(1000)
            done += 1000
        return done

    def test_work_is_done_at_once_until_the_credit_is_used_up(self) -> None:
        self.assertEqual(self.work_at_once(), BURST)
        self.assertFalse(self.queue.may_start())

    def test_an_empty_queue_gives_new_credit(self) -> None:
        self.work_at_once()
        self.enqueue("a", 1)
        self.assertEqual(self.turns(), ["a"])
        self.assertEqual(self.work_at_once(), BURST)

    def test_a_slice_a_turn_round_robin(self) -> None:
        self.enqueue("a", 3)
        self.enqueue("b", 2)
        self.assertEqual(self.turns(), ["a", "b", "a", "b", "a"])

    def test_cheap_slices_share_a_turn(self) -> None:
        for name in "abcdef":
            self.enqueue(name, 1, SLICE // 4)
        self.assertEqual(self.turns(), ["abcd", "ef"])

    def test_nobody_overtakes_the_queue(self) -> None:
        self.assertTrue(self.queue.may_start())
        self.enqueue("a", 1)
        self.assertFalse(self.queue.may_start())
        self.turns()
        self.assertTrue(self.queue.may_start())
