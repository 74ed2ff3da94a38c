"""Whose turn it is, by a clock that stands for the reactor's turns."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshtx.proxy.crowd import SourceKey
from meshtx.proxy.turns import Turn, Turns
from tests.proxy.turning import Turning

A: SourceKey = (4, 1)
B: SourceKey = (4, 2)


class TurnsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Turning()
        self.turns = Turns(self.clock)
        self.begun: list[str] = []

    def ask(self, source: SourceKey, *names: str) -> list[Turn]:
        def one(name: str) -> Turn:
            return self.turns.ask(source, lambda: self.begun.append(name))

        return [one(name) for name in names]

    def turn(self) -> str:
        """Let the reactor turn once; return what it began."""
        before = len(self.begun)
        self.clock.turn()
        return " ".join(self.begun[before:])

    def test_who_asks_alone_does_not_wait(self) -> None:
        [turn] = self.ask(A, "a1")
        self.assertEqual((self.begun, turn.waits), (["a1"], False))
        self.clock.turn()
        self.ask(B, "b1")
        self.assertEqual(self.begun, ["a1", "b1"])

    def test_one_is_begun_a_turn(self) -> None:
        _, waiting, _ = self.ask(A, "a1", "a2", "a3")
        self.assertEqual((self.begun, waiting.waits), (["a1"], True))
        self.assertEqual([self.turn() for _ in range(3)], ["a2", "a3", ""])
        self.assertEqual((waiting.waits, self.clock.getDelayedCalls()), (False, []))

    def test_sources_take_turns(self) -> None:
        """One that asks for many holds up another's one for one."""
        self.ask(A, "a1", "a2", "a3", "a4")
        self.ask(B, "b1", "b2")
        self.assertEqual([self.turn() for _ in range(5)], ["a2", "b1", "a3", "b2", "a4"])

    def test_who_comes_while_others_wait_is_not_before_them(self) -> None:
        self.ask(A, "a1", "a2", "a3")
        self.assertEqual(self.turn(), "a2")
        self.ask(B, "b1")
        self.assertEqual([self.turn() for _ in range(2)], ["a3", "b1"])

    def test_who_gives_up_costs_no_turn(self) -> None:
        _, second, _ = self.ask(A, "a1", "a2", "a3")
        [other] = self.ask(B, "b1")
        for turn in (second, other, other):
            turn.give_up()
        self.assertEqual([self.turn() for _ in range(2)], ["a3", ""])
        self.assertEqual((self.turns._waiting, self.clock.getDelayedCalls()), ({}, []))
