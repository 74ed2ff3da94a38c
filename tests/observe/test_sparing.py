"""How many lines of the log a stranger can cause."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshtx.observe.flow import Direction, Refusal
from meshtx.observe.sparing import BURST, WINDOW, Sparing
from tests.observe.cases import series
from tests.observe.test_flows import FlowCase


class SparingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.sparing = Sparing(burst=2, window=10.0)

    def ask(self, times: int, now: float, kind: str = "loop") -> list[int | None]:
        return [self.sparing.left_out(kind, now) for _ in range(times)]

    def test_a_few_pass_and_the_rest_is_a_number_on_the_next_that_does(self) -> None:
        self.assertEqual(self.ask(5, now=100.0), [0, 0, None, None, None])
        self.assertEqual(self.ask(1, now=109.9), [None])
        self.assertEqual(self.ask(3, now=110.0), [4, 0, None])

    def test_one_kind_does_not_hide_another(self) -> None:
        self.ask(9, now=100.0)
        self.assertEqual(self.ask(1, 100.0, "no_rule"), [0])

    def test_a_clock_that_is_set_back_begins_anew(self) -> None:
        self.ask(3, now=100.0)
        self.assertEqual(self.ask(1, now=50.0), [1])
        self.assertEqual(self.ask(2, now=51.0), [0, None])


class RefusedFlowTests(FlowCase):
    def test_strangers_cannot_fill_the_log(self) -> None:
        for _ in range(1000):
            self.open().refuse(Refusal.TLS_REQUIRED, "no TLS")
        self.open(Direction.OUT).refuse(Refusal.TLS_REQUIRED)
        self.assertEqual(len(self.lines()), BURST + 1)
        self.assertTrue(series(self.metrics, "tcp_refused_total")[0].endswith(" 1000.0"))
        self.clock.advance(WINDOW)
        self.open().refuse(Refusal.TLS_REQUIRED, "no TLS")
        self.assertEqual(
            self.lines()[-1],
            "inbound 10.1.0.4:48210 -> 10.1.0.2:80 refused: tls_required (no TLS), and 980 more before it",
        )
