"""The trial on a new Debian: which suites it takes, and what it says of them."""

from twisted.trial.unittest import SynchronousTestCase

from tools.fresh import SUITES, Outcome, arguments


class TestFresh(SynchronousTestCase):
    def test_all_suites_or_those_that_are_named(self) -> None:
        self.assertEqual(arguments([], 0), list(SUITES))
        self.assertEqual(arguments(["sid"], 0), ["sid"])

    def test_one_suite_a_day_in_turn(self) -> None:
        days = [arguments(["--in-turn"], day) for day in range(4)]
        self.assertEqual(days, [[SUITES[0]], [SUITES[1]]] * 2)

    def test_an_outcome_says_what_failed(self) -> None:
        failed = Outcome("trixie", "make test", 2, 601.4, "9 passed, 1 failed")
        self.assertEqual(str(failed), "trixie     make test    601 s  exit status 2  9 passed, 1 failed")
        self.assertEqual(str(Outcome("trixie", "make demo", 0, 60, "")), "trixie     make demo     60 s  ok")
