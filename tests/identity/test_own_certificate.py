"""The identity service's own certificate, on a clock that the test moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshtx.errors import CredentialsError
from meshtx.identity.issuer_files import Loaded
from meshtx.identity.own_certificate import LONGEST_SLEEP, OwnCertificate
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.issuer import make_issuer, make_root
from meshtx.pki.name import MeshScope

SCOPE = MeshScope()
NAME = SCOPE.name("meshtx", "meshtx-identity")
START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def authority(lifetime: timedelta = timedelta(days=90)) -> Loaded:
    key, root = make_root(SCOPE, START)
    return Loaded(make_issuer(key, root, SCOPE, START, lifetime), TrustBundle.of([root]))


class OwnCertificateTests(SynchronousTestCase):
    def make(self, loaded: Loaded, ahead: float = 0.0) -> OwnCertificate:
        """Start it.

        :param ahead: seconds of the wall clock, until somebody sets it right.
        """
        self.loaded, self.ahead = loaded, ahead
        self.clock = Clock()
        self.published: list[datetime | None] = []
        own = OwnCertificate(
            NAME,
            lambda: self.loaded,
            self.clock,
            lifetime=timedelta(hours=1),
            wall=lambda: START.timestamp() + self.ahead + self.clock.seconds(),
            jitter=lambda: 0.5,
        )
        own.subscribe(lambda: self.published.append(own.credentials and own.credentials.not_after))
        own.startService()
        self.addCleanup(own.stopService)
        return own

    def advance(self, seconds: float) -> None:
        self.clock.pump([LONGEST_SLEEP] * int(seconds // LONGEST_SLEEP) + [seconds % LONGEST_SLEEP])

    def test_it_is_there_from_the_start_and_proves_the_name(self) -> None:
        own = self.make(authority())
        assert own.credentials is not None
        own.credentials.check(NAME, own.trust, START)
        self.assertEqual(own.credentials.not_after, START + timedelta(hours=1))
        self.assertIsNone(own.ready_reason())

    def test_it_is_renewed_after_two_thirds_of_its_life(self) -> None:
        own = self.make(authority())
        key = own.credentials and own.credentials.key
        self.advance(0.66 * 3600)
        self.assertEqual(self.published, [])
        self.advance(0.02 * 3600)
        self.assertEqual(len(self.published), 1)
        assert own.credentials is not None
        self.assertIsNot(own.credentials.key, key)
        self.advance(3 * 3600)
        self.assertEqual(len(self.published), 5)

    def test_a_clock_that_was_set_forward_is_noticed_within_a_minute(self) -> None:
        self.make(authority())
        self.clock.rightNow += 7200
        self.clock.advance(0)
        self.assertEqual(len(self.published), 1)

    def test_a_clock_that_was_ahead_is_noticed_within_a_minute_of_being_set_right(self) -> None:
        """Else nobody could get a certificate before the clock is where it was: peers do not believe one from later."""
        own = self.make(authority(), ahead=7200)
        self.ahead = 0
        self.advance(60)
        assert own.credentials is not None
        own.credentials.check(NAME, own.trust, START + timedelta(seconds=60))
        self.advance(600)
        self.assertEqual(len(self.published), 1)

    def test_another_issuer_is_used_at_once(self) -> None:
        own = self.make(authority())
        self.loaded = authority()
        own.renew()
        assert own.credentials is not None
        self.assertIs(own.trust, self.loaded.trust)
        own.credentials.check(NAME, self.loaded.trust, START)

    def test_a_failure_keeps_the_old_one_says_so_and_is_tried_again(self) -> None:
        own = self.make(authority(timedelta(minutes=30)))
        self.advance(1801)
        self.assertIsNotNone(own.problem)
        self.assertIn(str(own.problem), str(own.ready_reason()))
        self.assertEqual(set(self.published), {START + timedelta(minutes=30)})  # as long as the issuer had left
        key, root = make_root(SCOPE, START)
        now = START + timedelta(seconds=self.clock.seconds())
        self.loaded = Loaded(make_issuer(key, root, SCOPE, now), TrustBundle.of([root]))
        self.advance(120)
        self.assertIsNone(own.problem)
        self.assertIsNone(own.ready_reason())

    def test_without_a_first_one_there_is_none(self) -> None:
        loaded = authority(timedelta(minutes=30))
        clock = Clock()
        with self.assertRaises(CredentialsError):
            OwnCertificate(NAME, lambda: loaded, clock, wall=lambda: START.timestamp() + 3600)
