from __future__ import annotations

from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from meshtx.observe.budget import BYTE, CONNECTION, MESSAGE, TOGETHER, Account, Budget, Spending, counted
from meshtx.observe.flow import Seen
from meshtx.wire.http1 import Http1Observer
from meshtx.wire.http2 import Http2Observer
from meshtx.wire.http_events import RequestHead, RequestText, ResponseEnd, ResponseHead
from tests.observe.cases import LineObserver, a_request

HOLDS, RATE = CONNECTION


class AccountTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.account = Account(1000, 50, now=0.0)

    def test_it_holds_so_much(self) -> None:
        self.assertTrue(self.account.spend(1000, 0.0))
        self.assertFalse(self.account.spend(1, 0.0))

    def test_time_fills_it_and_no_further(self) -> None:
        self.account.spend(1000, 0.0)
        self.assertTrue(self.account.spend(100, 2.0))
        self.assertFalse(self.account.spend(1001, 10_000.0))

    def test_what_is_earned_fills_it_and_no_further(self) -> None:
        self.account.spend(500, 0.0)
        self.account.spend(-10_000, 0.0)
        self.assertTrue(self.account.spend(1000, 0.0))
        self.assertFalse(self.account.spend(1, 0.0))


class SpendingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 0.0
        self.budget = Budget(lambda: self.now)
        self.spending = Spending(self.budget)

    def charges(self, work: float, size: int = 0, seen: Sequence[Seen] = ()) -> int:
        """Count the calls until one is too much; a thousand are none."""
        return next((n for n in range(1000) if not self.spending.charge(work, size, seen)), 1000)

    def test_work_for_nothing_ends_it(self) -> None:
        self.assertEqual(self.charges(HOLDS / 4), 4)

    def test_bytes_pay_for_work(self) -> None:
        self.assertEqual(self.charges(60_000 * BYTE, 60_000), 1000)

    def test_messages_pay_for_work(self) -> None:
        seen = [a_request(), ResponseHead(0, 200), ResponseEnd(0, 10)]
        self.assertEqual(self.charges(2 * MESSAGE, seen=seen), 1000)
        head = RequestHead(0, lambda: RequestText("GET", "a", "/"))
        self.assertEqual(self.charges(MESSAGE, seen=[head]), 1000)

    def test_a_request_that_is_cut_off_pays_for_nothing(self) -> None:
        self.assertEqual(self.charges(HOLDS / 4, seen=[a_request(), ResponseEnd(0, 0, reset=8)]), 4)

    def test_time_pays_for_work(self) -> None:
        for _ in range(1000):
            self.now += 0.1
            self.assertTrue(self.spending.charge(RATE / 10, 0, ()))

    def test_all_connections_have_an_account_together(self) -> None:
        holds, _ = TOGETHER
        others = [Spending(self.budget) for _ in range(10)]
        enough = [other.charge(holds / 5, 0, ()) for other in others]
        self.assertEqual(enough, [True] * 5 + [False] * 5)

    def test_who_earns_pays_nothing_for_others(self) -> None:
        self.assertFalse(Spending(self.budget).charge(10 * HOLDS, 0, ()))
        self.now += 10 * HOLDS / TOGETHER[1]
        self.spending.charge(-100 * HOLDS, 0, ())
        self.assertFalse(Spending(self.budget).charge(2 * HOLDS, 0, ()))


class CountedTests(SynchronousTestCase):
    def test_our_own_parsers_count_and_are_not_timed(self) -> None:
        for observer in (Http1Observer(), Http2Observer()):
            self.assertIs(counted(observer, lambda: 0.0), observer)

    def test_their_work_is_that_of_the_last_call(self) -> None:
        observer = Http1Observer()
        observer.client_data(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 500)
        self.assertGreater(observer.work, 500)
        observer.client_data(b"G")
        self.assertLess(observer.work, 10)

    def test_a_plugins_observer_is_timed(self) -> None:
        times = iter([1.0, 1.5, 2.0, 2.000_7])
        observer = counted(LineObserver(), times.__next__)
        self.assertEqual(observer.client_data(b"?/a"), [a_request(0, path="/a")])
        self.assertEqual(observer.work, 500_000)
        observer.server_data(b"!200")
        self.assertAlmostEqual(observer.work, 700)

    def test_it_is_a_plugins_observer_otherwise(self) -> None:
        plain = LineObserver()
        observer = counted(plain, lambda: 0.0)
        observer.client_data(b"?/ax")
        self.assertTrue(observer.detached)
        self.assertEqual(list(observer.ended(False)), [ResponseEnd(0, 0, reset=-1)])
        self.assertIs(plain.orderly, False)
