from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshtx.kube.tap_outlet import BATCH, GATHER, HEARTBEAT, QUEUE, Outlet


class OutletTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.sent: list[bytes] = []
        self.outlet = Outlet(self.sent.append, self.clock)
        self.addCleanup(self.assertEqual, self.clock.getDelayedCalls(), [])
        self.addCleanup(self.outlet.stopProducing)

    def test_lines_that_come_together_go_out_together(self) -> None:
        self.outlet.add(b"a")
        self.outlet.add(b"b")
        self.assertEqual(self.sent, [])
        self.clock.advance(0)
        self.assertEqual(self.sent, [b"a\nb\n"])

    def test_there_are_so_many_lines_a_second_and_no_more(self) -> None:
        for _ in range(3 * BATCH):
            self.outlet.add(b"x")
        self.clock.advance(0)
        self.assertEqual(len(self.sent[0]), 2 * BATCH)
        self.clock.advance(GATHER / 2)
        self.assertEqual(len(self.sent), 1)
        self.clock.pump([GATHER / 2, 0, GATHER, 0, GATHER, 0])
        self.assertEqual([len(each) for each in self.sent], [2 * BATCH] * 3)

    def test_who_adds_to_a_full_queue_waits_for_room(self) -> None:
        answers = [self.outlet.add(b"x") for _ in range(QUEUE)]
        self.assertEqual(answers[:-1], [None] * (QUEUE - 1))
        waiting = answers[-1]
        assert waiting is not None
        self.assertNoResult(waiting)
        self.clock.advance(0)
        self.successResultOf(waiting)

    def test_while_the_caller_takes_nothing_nothing_is_sent_and_all_wait(self) -> None:
        self.outlet.pauseProducing()
        waiting = [self.outlet.add(b"x") for _ in range(QUEUE)][-1]
        assert waiting is not None
        self.clock.pump([0, GATHER, HEARTBEAT])
        self.assertEqual(self.sent, [])
        self.assertNoResult(waiting)
        self.outlet.resumeProducing()
        self.clock.advance(0)
        self.assertEqual(len(self.sent), 1)
        self.successResultOf(waiting)

    def test_a_pause_ahead_of_the_turn_makes_no_room(self) -> None:
        waiting = [self.outlet.add(b"x") for _ in range(QUEUE)][-1]
        assert waiting is not None
        self.outlet.pauseProducing()
        self.clock.advance(0)
        self.assertNoResult(waiting)

    def test_a_pause_in_the_middle_of_a_burst_keeps_the_rest(self) -> None:
        for _ in range(2 * BATCH):
            self.outlet.add(b"x")
        self.clock.advance(0)
        self.outlet.pauseProducing()
        self.clock.pump([GATHER, 0, GATHER])
        self.assertEqual(len(self.sent), 1)
        self.outlet.resumeProducing()
        self.clock.pump([0, GATHER, 0])
        self.assertEqual(len(b"".join(self.sent)), 4 * BATCH)

    def test_an_empty_line_says_that_it_is_alive(self) -> None:
        self.clock.advance(HEARTBEAT)
        self.assertEqual(self.sent, [b"\n"])
        self.outlet.add(b"x")
        self.clock.pump([HEARTBEAT / 2, HEARTBEAT * 0.9])
        self.assertEqual(self.sent, [b"\n", b"x\n"])
        self.clock.advance(HEARTBEAT * 0.2)
        self.assertEqual(self.sent, [b"\n", b"x\n", b"\n"])

    def test_when_the_caller_has_gone_nobody_waits_and_nothing_is_sent(self) -> None:
        waiting = [self.outlet.add(b"x") for _ in range(QUEUE)][-1]
        self.outlet.stopProducing()
        assert waiting is not None
        self.successResultOf(waiting)
        self.assertIsNone(self.outlet.add(b"y"))
        self.clock.pump([0, GATHER, HEARTBEAT])
        self.assertEqual(self.sent, [])

    def test_when_the_caller_has_gone_before_a_line_came_none_is_sent(self) -> None:
        self.outlet.stopProducing()
        self.assertIsNone(self.outlet.add(b"y"))
        self.clock.advance(0)
        self.assertEqual(self.sent, [])
