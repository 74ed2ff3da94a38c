"""Less effort tries less, and never nothing; all of it leaves no cut out."""

from twisted.trial.unittest import SynchronousTestCase

from tests.effort import Effort, count_examples
from tests.wire.splits import cuts

LONG = bytes(300)


class TestExamples(SynchronousTestCase):
    def test_each_effort_has_its_number(self) -> None:
        self.assertEqual([count_examples(500, effort) for effort in Effort], [25, 500, 2000])

    def test_there_is_always_one(self) -> None:
        self.assertEqual(count_examples(3, Effort.QUICK), 1)


class TestCuts(SynchronousTestCase):
    def test_all_of_them(self) -> None:
        self.assertEqual(len(set(map(len_of_each, cuts(LONG, Effort.ALL)))), 299 + 299 * 298 // 2)

    def test_usually_every_single_cut_and_some_of_two(self) -> None:
        found = list(map(len_of_each, cuts(LONG, Effort.USUAL)))
        self.assertEqual(len(found), len(set(found)))
        self.assertEqual(len([lengths for lengths in found if len(lengths) == 2]), 299)
        self.assertLess(len(found), 299 * 298 // 10)

    def test_pieces_are_never_empty_and_make_the_whole(self) -> None:
        for pieces in cuts(LONG, Effort.USUAL):
            self.assertEqual((b"".join(pieces), b"" in pieces), (LONG, False))


def len_of_each(pieces: tuple[bytes, ...]) -> tuple[int, ...]:
    return tuple(map(len, pieces))
