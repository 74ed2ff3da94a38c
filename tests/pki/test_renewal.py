"""When to renew, and when to try again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from meshtx.pki.renewal import backoff, renew_at, retry_at

JITTER = st.floats(0, 1, exclude_max=True)


class RenewalTests(SynchronousTestCase):
    def test_two_thirds_of_the_life_on_average(self) -> None:
        self.assertAlmostEqual(renew_at(0, 86400, 0.5), 57600)

    def test_jitter_spreads_over_an_eighth_of_the_life(self) -> None:
        self.assertEqual((renew_at(0, 1500, 0.0), renew_at(0, 1500, 1.0)), (900, 1100))

    def test_a_life_that_is_over_is_renewed_at_once(self) -> None:
        self.assertEqual(renew_at(100, 50, 0.9), 100)

    def test_the_wait_doubles_up_to_a_minute(self) -> None:
        self.assertEqual([backoff(n, 1.0) for n in range(9)], [0.5, 1, 2, 4, 8, 16, 32, 60, 60])
        self.assertEqual([backoff(n, 0.0) for n in (0, 3, 10_000)], [0.25, 2, 30])

    def test_without_a_certificate_the_wait_is_the_backoff(self) -> None:
        self.assertEqual(retry_at(10, None, 7, 1.0), 70)
        self.assertEqual(retry_at(10, 5, 7, 1.0), 70)

    def test_tries_come_closer_together_before_the_end(self) -> None:
        self.assertEqual(retry_at(0, 1000, 20, 1.0), 60)
        self.assertEqual(retry_at(0, 60, 20, 1.0), 30)
        self.assertEqual(retry_at(59, 60, 20, 1.0), 59.5)

    @given(st.floats(0, 1e9), st.floats(0.001, 1e6), st.integers(0, 50), JITTER)
    def test_a_valid_certificate_is_tried_again_before_its_last_half_second(
        self, now: float, left: float, attempt: int, jitter: float
    ) -> None:
        again = retry_at(now, now + left, attempt, jitter)
        self.assertGreater(again, now)
        self.assertLess(again, now + max(left, 0.51))
