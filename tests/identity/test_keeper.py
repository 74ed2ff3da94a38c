"""When a workload asks for a certificate, and when its present one is over."""

from __future__ import annotations

from datetime import UTC, datetime

from twisted.trial.unittest import SynchronousTestCase

from meshtx.identity.keeper import (
    Certified,
    Certify,
    Command,
    Distrusted,
    Event,
    Expired,
    Failed,
    Keeper,
    Swap,
    WakeAt,
    Woken,
)
from meshtx.pki.credentials import Credentials
from meshtx.pki.renewal import renew_at
from tests.pki.made import KEY, WEB


def valid(start: float, end: float) -> Credentials:
    return Credentials(KEY, (), WEB, *(datetime.fromtimestamp(each, UTC) for each in (start, end)))


DAY = 86_400.0
FIRST = valid(0, DAY)
SECOND = valid(57_600, 57_600 + DAY)


class KeeperTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.keeper = Keeper(jitter=lambda: 0.5)

    def on(self, event: Event, *commands: Command) -> None:
        """Play one event and compare exactly what it is answered."""
        self.assertEqual(self.keeper.receive(event), list(commands))

    def certify(self) -> None:
        self.on(Woken(0.0), Certify())
        self.on(Certified(FIRST, 0.0), Swap(FIRST), WakeAt(57_600.0))

    def test_a_certificate_is_renewed_after_two_thirds_of_its_life(self) -> None:
        self.certify()
        self.on(Woken(57_600.0), WakeAt(DAY), Certify())
        self.on(Certified(SECOND, 57_601.0), Swap(SECOND), WakeAt(renew_at(57_601, 57_600 + DAY, 0.5)))

    def test_a_failed_renewal_keeps_the_old_credentials_and_tries_again_later(self) -> None:
        self.certify()
        self.on(Woken(57_600.0), WakeAt(DAY), Certify())
        self.on(Failed("unavailable", 57_601.0), WakeAt(57_601.375))
        self.on(Woken(57_601.375), WakeAt(DAY), Certify())
        self.on(Failed("unavailable", 57_602.0), WakeAt(57_602.75))
        self.on(Woken(57_602.75), WakeAt(DAY), Certify())
        self.on(Certified(SECOND, 57_603.0), Swap(SECOND), WakeAt(renew_at(57_603, 57_600 + DAY, 0.5)))

    def test_after_a_success_the_waits_are_short_again(self) -> None:
        self.on(Woken(0.0), Certify())
        for attempt in range(9):
            self.keeper.receive(Failed("no", 100.0 * attempt))
            self.keeper.receive(Woken(100.0 * attempt + 99))
        self.on(Certified(FIRST, 1000.0), Swap(FIRST), WakeAt(renew_at(1000, DAY, 0.5)))
        self.on(Woken(60_000.0), WakeAt(DAY), Certify())
        self.on(Failed("no", 60_000.0), WakeAt(60_000.375))

    def test_without_any_certificate_it_keeps_asking(self) -> None:
        self.on(Woken(0.0), Certify())
        self.on(Failed("no token", 1.0), WakeAt(1.375))
        self.on(Woken(1.375), Certify())

    def test_one_request_at_a_time(self) -> None:
        self.on(Woken(0.0), Certify())
        self.on(Woken(10.0))
        self.on(Distrusted(11.0))

    def test_it_is_not_asked_before_its_time(self) -> None:
        self.certify()
        self.on(Woken(57_000.0), WakeAt(57_600.0))

    def test_an_expired_certificate_is_withdrawn_while_a_request_is_under_way(self) -> None:
        self.certify()
        self.on(Woken(57_600.0), WakeAt(DAY), Certify())
        self.on(Woken(DAY), Expired())
        self.on(Failed("still no", DAY + 5), WakeAt(DAY + 5.375))
        self.on(Woken(DAY + 5.375), Certify())
        self.on(Certified(SECOND, DAY + 6), Swap(SECOND), WakeAt(renew_at(DAY + 6, 57_600 + DAY, 0.5)))

    def test_a_failure_that_comes_after_the_end_withdraws_it_too(self) -> None:
        self.certify()
        self.on(Woken(57_600.0), WakeAt(DAY), Certify())
        self.on(Failed("late", DAY + 1), Expired(), WakeAt(DAY + 1.375))

    def test_a_machine_that_slept_through_its_renewal_comes_back(self) -> None:
        self.certify()
        self.on(Woken(10 * DAY), Expired(), Certify())

    def test_near_the_end_the_tries_come_closer_together(self) -> None:
        self.certify()
        self.on(Woken(57_600.0), WakeAt(DAY), Certify())
        for _ in range(12):
            self.keeper.receive(Failed("no", 60_000.0))
        self.on(Failed("no", DAY - 20), WakeAt(DAY - 10))

    def test_the_end_is_not_slept_over(self) -> None:
        self.certify()
        self.on(Woken(57_600.0), WakeAt(DAY), Certify())
        self.on(Failed("no", DAY - 0.25), WakeAt(DAY))
        self.on(Woken(DAY), Expired(), WakeAt(DAY + 0.125))

    def test_distrusted_credentials_are_renewed_at_once_and_stay_until_then(self) -> None:
        self.certify()
        self.on(Distrusted(100.0), WakeAt(DAY), Certify())

    def test_a_life_shorter_than_a_request_is_not_renewed_in_a_loop(self) -> None:
        self.on(Woken(0.0), Certify())
        short = valid(-300, 0.5)
        self.on(Certified(short, 0.0), Swap(short), WakeAt(0.5))
        self.on(Woken(0.5), Expired(), WakeAt(1.0))
        self.on(Woken(1.0), Certify())
