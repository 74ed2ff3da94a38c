"""Which answers are kept, and for how long."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshtx.directory.answers import Answers
from meshtx.directory.messages import Several
from meshtx.wire.address import Address

NOBODY, OTHER = Several(()), Several(())
A, B, C = (Address.parse(f"10.1.0.{last}:80") for last in (1, 2, 3))


class AnswersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.answers = Answers(most=2)

    def test_what_is_not_there(self) -> None:
        self.assertIsNone(self.answers.use(A, 0))
        self.assertFalse(self.answers.change(A, NOBODY))
        self.answers.drop(A)
        self.assertNotIn(A, self.answers)

    def test_the_one_goes_that_was_not_used_for_longest(self) -> None:
        self.assertEqual([*self.answers.add(A, NOBODY, 0), *self.answers.add(B, NOBODY, 1)], [])
        self.assertIs(self.answers.use(A, 2), NOBODY)
        self.assertEqual(self.answers.add(C, NOBODY, 3), [B])
        self.assertEqual((list(self.answers), len(self.answers)), ([A, C], 2))

    def test_one_that_is_told_anew_is_used_anew(self) -> None:
        for at, address in enumerate((A, B, A)):
            self.answers.add(address, NOBODY, at)
        self.assertEqual(self.answers.add(C, NOBODY, 3), [B])

    def test_what_is_dropped_is_not_there(self) -> None:
        self.answers.add(A, NOBODY, 0)
        self.answers.drop(A)
        self.assertNotIn(A, self.answers)

    def test_what_is_not_used_is_dropped(self) -> None:
        self.answers.add(A, NOBODY, 0)
        self.answers.add(B, NOBODY, 1)
        self.answers.use(A, 5)
        self.assertEqual(self.answers.unused(since=5), [B])
        self.assertEqual(self.answers.unused(since=5), [])
        self.assertEqual(list(self.answers), [A])

    def test_a_change_is_no_use(self) -> None:
        self.answers.add(A, NOBODY, 0)
        self.assertTrue(self.answers.change(A, OTHER))
        self.assertEqual(self.answers.unused(since=1), [A])
