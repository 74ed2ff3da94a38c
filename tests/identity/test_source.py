"""Who is told of new credentials, and when a program should get no traffic."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from meshtx.identity.source import CredentialsService, lifetime_reason
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.credentials import Credentials
from tests.identity.made import START, Mesh

MESH = Mesh()
CREDENTIALS = MESH.credentials()
END = CREDENTIALS.not_after.timestamp()


class Source(CredentialsService):
    def publish(self, credentials: Credentials | None, trust: TrustBundle = MESH.trust) -> None:
        self._publish(credentials, trust)


class CredentialsServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.source = Source(MESH.trust, lambda: START)

    def test_a_subscriber_is_told_after_the_change_until_it_ends_the_subscription(self) -> None:
        seen: list[Credentials | None] = []
        end = self.source.subscribe(lambda: seen.append(self.source.credentials))
        self.source.publish(CREDENTIALS)
        self.source.publish(None)
        end()
        end()
        self.source.publish(CREDENTIALS)
        self.assertEqual(seen, [CREDENTIALS, None])

    def test_a_subscriber_s_defect_does_not_keep_the_next_one_uninformed(self) -> None:
        seen: list[str] = []
        self.source.subscribe(lambda: 1 // 0 and None)
        self.source.subscribe(lambda: seen.append("told"))
        self.source.publish(CREDENTIALS)
        self.assertEqual((seen, len(self.flushLoggedErrors(ZeroDivisionError))), (["told"], 1))

    def test_the_first_credentials_are_waited_for_by_any_number(self) -> None:
        waiting = [self.source.first() for _ in range(2)]
        self.source.publish(None)
        self.assertNoResult(waiting[0])
        self.source.publish(CREDENTIALS)
        self.assertEqual([self.successResultOf(each) for each in waiting], [CREDENTIALS] * 2)
        self.assertEqual(self.successResultOf(self.source.first()), CREDENTIALS)

    def test_a_wait_can_be_cancelled(self) -> None:
        first, second = self.source.first(), self.source.first()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.source.publish(CREDENTIALS)
        self.successResultOf(second)

    def test_who_still_waits_at_the_end_is_told(self) -> None:
        waiting = self.source.first()
        self.source.stopService()
        self.failureResultOf(waiting, CancelledError)


class LifetimeReasonTests(SynchronousTestCase):
    def test_a_valid_certificate_is_ready_whatever_the_renewal_does(self) -> None:
        self.assertIsNone(lifetime_reason(CREDENTIALS, START, START, None))
        self.assertIsNone(lifetime_reason(CREDENTIALS, START, END - 121, "unavailable"))

    def test_the_last_two_minutes_are_not_ready(self) -> None:
        text = f"the certificate expires at {CREDENTIALS.not_after:%Y-%m-%d %H:%M:%S} UTC"
        self.assertEqual(lifetime_reason(CREDENTIALS, START, END - 120, "unavailable"), f"{text}: unavailable")
        self.assertEqual(lifetime_reason(CREDENTIALS, START, END + 1, None), text)

    def test_of_a_short_use_the_last_third_is_not_ready(self) -> None:
        self.assertIsNone(lifetime_reason(CREDENTIALS, END - 30, END - 10.5, None))
        self.assertIsNotNone(lifetime_reason(CREDENTIALS, END - 30, END - 10, None))

    def test_none_is_not_ready(self) -> None:
        self.assertEqual(lifetime_reason(None, START, START, None), "no valid certificate")
        self.assertEqual(lifetime_reason(None, START, START, "no token"), "no valid certificate: no token")
