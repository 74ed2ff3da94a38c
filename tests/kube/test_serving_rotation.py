"""The rotation against a registration that behaves as the API server's: one writer at a time."""

from __future__ import annotations

from datetime import timedelta

from twisted.internet.defer import CancelledError, Deferred

from meshtx.errors import CredentialsError
from meshtx.kube.api_errors import ApiForbidden, ApiRefused, ApiUnavailable
from meshtx.kube.serving_certificate import (
    GRACE,
    LIFETIME,
    MOST,
    Generation,
    generate,
    to_pem,
)
from meshtx.kube.serving_rotation import EVERY, FIRST, MAX_STEPS, SETTLE, SWITCH, ServingRotation
from tests.kube.serving_case import START, Case

OTHER = generate("meshtx-injector.meshtx.svc", START).authority
LONG_AGO = START - LIFETIME - GRACE
"""What began then is kept no longer."""
UNTOLD = "API servers are being told whom to believe for the webhook"


class AnnouncedTests(Case):
    def test_the_first_of_all_is_told_and_ready_in_one_look(self) -> None:
        rotation = self.rotation()
        self.assertEqual(rotation.ready_reason(), "there is no certificate yet")
        self.look(rotation)
        self.assertIsNone(rotation.ready_reason())
        self.assertEqual(self.served, [rotation.current])
        self.assertEqual(self.believed(), [self.served[0].authority])

    def test_beside_others_it_is_ready_when_api_servers_had_time(self) -> None:
        """For they call the others meanwhile."""
        self.store.fill(to_pem([OTHER]))
        rotation = self.started()
        self.assertEqual(self.believed(), [OTHER, self.served[0].authority])
        self.wait(SETTLE - 1)
        self.assertEqual(rotation.ready_reason(), UNTOLD)
        self.wait(1)
        self.assertIsNone(rotation.ready_reason())

    def test_whom_nobody_can_call_any_more_it_does_not_wait_for(self) -> None:
        expired = generate("meshtx-injector.meshtx.svc", LONG_AGO).authority
        self.store.fill(to_pem([expired]) + "-----BEGIN CERTIFICATE-----\n")
        rotation = self.rotation()
        self.look(rotation)
        self.assertIsNone(rotation.ready_reason())
        self.assertEqual(self.believed(), [self.served[0].authority])

    def test_one_entry_that_has_it_is_not_enough(self) -> None:
        rotation = self.rotation()
        self.look(rotation)
        own = self.store.bundles().pop()
        self.store.put(1, to_pem([OTHER]))
        self.look(rotation)
        self.assertEqual(self.store.bundles(), {own + to_pem([OTHER])})
        self.assertEqual(rotation.ready_reason(), UNTOLD)

    def test_what_was_taken_out_is_in_again_after_the_next_look(self) -> None:
        rotation = self.started()
        self.store.fill(to_pem([OTHER]))
        self.wait(EVERY)
        self.assertEqual(self.believed(), [OTHER, self.served[0].authority])
        self.assertEqual(rotation.ready_reason(), UNTOLD)
        self.wait(SETTLE)
        self.assertIsNone(rotation.ready_reason())
        self.assertEqual(len(self.served), 1)

    def test_a_registration_that_comes_anew_is_told_again(self) -> None:
        rotation = self.rotation()
        self.look(rotation)
        self.store.empty()
        self.look(rotation)
        self.assertEqual((self.believed(), rotation.ready_reason()), ([self.served[0].authority], None))

    def test_a_time_in_which_it_was_missing_does_not_count(self) -> None:
        self.store.fill(to_pem([OTHER]))
        rotation = self.started()
        self.wait(SETTLE - 1)
        self.store.fill(to_pem([OTHER]))
        self.wait(SETTLE)
        self.assertEqual(rotation.ready_reason(), UNTOLD)
        self.wait(1)
        self.assertIsNone(rotation.ready_reason())

    def test_a_clock_that_is_set_back_delays_it_and_takes_no_readiness_away(self) -> None:
        self.store.fill(to_pem([OTHER]))
        rotation = self.rotation()
        self.clock.rightNow = 1000.0
        self.look(rotation)
        self.clock.rightNow = 0.0
        self.look(rotation)
        self.clock.rightNow = SETTLE
        self.look(rotation)
        self.assertIsNone(rotation.ready_reason())
        self.clock.rightNow = 1.0
        self.look(rotation)
        self.assertIsNone(rotation.ready_reason())


class ReplicasTests(Case):
    def test_who_comes_second_keeps_what_the_first_one_wrote(self) -> None:
        others: list[Generation] = []
        other = self.rotation(others)
        self.store.before_write.append(lambda: self.look(other))
        rotation = self.rotation()
        self.look(rotation)
        self.assertEqual(self.believed(), [others[0].authority, self.served[0].authority])
        self.assertEqual((other.ready_reason(), rotation.ready_reason()), (None, UNTOLD))

    def test_after_a_while_nobody_writes(self) -> None:
        for _ in range(3):
            self.started([])
        self.wait(EVERY)
        writes = self.store.writes
        self.wait(EVERY * 100)
        self.assertEqual((self.store.writes, len(self.believed())), (writes, 3))

    def test_restarts_do_not_grow_the_bundle_nor_push_out_who_runs(self) -> None:
        rotation = self.started()
        for _ in range(3 * MOST):
            self.look(self.rotation([]))
            self.wait(EVERY)
            self.assertIsNone(rotation.ready_reason())
            self.assertIn(self.served[0].authority, self.believed())
        self.assertEqual(len(self.believed()), MOST)

    def test_authorities_of_others_in_one_entry_come_into_no_other(self) -> None:
        foreign = [generate("example.org", START, timedelta(days=3650)).authority for _ in range(20)]
        rotation = self.rotation()
        self.look(rotation)
        self.store.put(0, to_pem([*foreign, self.served[0].authority]))
        self.look(rotation)
        self.assertEqual((self.believed(), rotation.ready_reason()), ([self.served[0].authority], None))

    def test_who_is_always_second_says_so_and_looks_again(self) -> None:
        rotation = self.rotation()
        self.store.before_write = [lambda: self.store.fill(to_pem([OTHER]))] * MAX_STEPS
        self.look(rotation)
        self.assertEqual(rotation.problem, "others change the registration of the webhook as fast as we do")
        self.look(rotation)
        self.assertIsNone(rotation.problem)


class RenewalTests(Case):
    def due(self) -> tuple[ServingRotation, Generation]:
        """Return a rotation that is about to renew, and what it serves."""
        rotation = self.started()
        (first,) = self.served
        self.until(first.renew_at())
        return rotation, first

    def test_the_next_one_is_announced_beside_the_present_one_before_it_is_served(self) -> None:
        rotation, first = self.due()
        self.assertEqual(len(self.believed()), 2)
        self.assertEqual(self.believed()[0], first.authority)
        self.wait(SWITCH - 1)
        self.assertEqual(self.served, [first])
        self.wait(EVERY)
        self.assertEqual([each.authority for each in self.served], self.believed())
        self.assertEqual((rotation.current, rotation.ready_reason()), (self.served[1], None))

    def test_until_then_nothing_is_written(self) -> None:
        self.started()
        writes = self.store.writes
        self.until(self.served[0].renew_at() - timedelta(seconds=1))
        self.assertEqual(self.store.writes, writes)

    def test_the_one_before_is_believed_until_it_expires(self) -> None:
        """Whoever still has a connection, or has not heard yet, is answered."""
        _, first = self.due()
        self.wait(SWITCH + EVERY)
        self.until(first.not_after - timedelta(seconds=EVERY))
        self.assertEqual(self.believed(), [each.authority for each in self.served])
        self.until(first.not_after + GRACE)
        self.wait(EVERY)
        self.assertEqual(self.believed(), [self.served[1].authority])

    def test_a_next_one_that_was_taken_out_is_announced_for_as_long_again(self) -> None:
        _, first = self.due()
        self.wait(SWITCH - EVERY)
        self.store.fill(to_pem([first.authority]))
        self.wait(SWITCH)
        self.assertEqual(self.served, [first])
        self.wait(2 * EVERY)
        self.assertEqual(len(self.served), 2)

    def test_what_nobody_can_be_told_of_is_not_served(self) -> None:
        rotation = self.started()
        (first,) = self.served
        self.store.unwritable = ApiForbidden("forbidden", 403)
        self.until(first.renew_at())
        self.wait(SWITCH * 3)
        self.assertEqual(self.served, [first])
        self.assertEqual((rotation.ready_reason(), rotation.problem), (None, "forbidden"))

    def test_in_the_place_of_an_expired_one_it_is_served_as_soon_as_it_is_announced(self) -> None:
        rotation = self.started()
        (first,) = self.served
        self.store.trouble = ApiUnavailable("away")
        self.until(first.renew_at())
        self.until(first.not_after)
        self.assertEqual(rotation.ready_reason(), "the certificate has expired; away")
        self.store.trouble = None
        self.wait(EVERY)
        self.assertEqual(len(self.served), 2)
        self.assertEqual(self.believed(), [each.authority for each in self.served])
        self.assertIsNone(rotation.ready_reason())

    def test_a_next_one_that_is_old_itself_is_not_served(self) -> None:
        """The machine slept."""
        rotation = self.started()
        self.store.trouble = ApiUnavailable("away")
        self.until(self.served[0].renew_at())
        self.until(START + LIFETIME * 3)
        self.store.trouble = None
        self.wait(EVERY)
        assert rotation.current is not None
        self.assertGreater(rotation.current.renew_at(), self.now())
        self.assertIsNone(rotation.ready_reason())


class TroubleTests(Case):
    def test_it_is_told_and_what_is_served_stays(self) -> None:
        rotation = self.rotation()
        self.store.trouble = ApiUnavailable("away")
        self.look(rotation)
        self.assertEqual((rotation.ready_reason(), len(self.served)), ("away", 1))
        self.store.trouble = None
        self.look(rotation)
        self.store.trouble = ApiUnavailable("away")
        self.look(rotation)
        self.assertEqual((rotation.ready_reason(), rotation.problem, len(self.served)), (None, "away", 1))

    def test_a_refusal_with_the_status_of_a_lost_race_is_told_in_its_words(self) -> None:
        """Such as an admission policy's: nobody was first, so it is not tried again at once."""
        for status in (409, 422):
            rotation = self.rotation()
            self.store.unwritable = ApiRefused("a policy denied the request", status)
            asked = self.store.asked
            self.look(rotation)
            self.assertEqual(rotation.ready_reason(), "a policy denied the request")
            self.assertEqual(self.store.asked, asked + 1)

    def test_who_lost_a_race_and_is_refused_then_tells_the_refusal(self) -> None:
        rotation = self.rotation()

        def lose() -> None:
            self.store.fill(to_pem([OTHER]))
            self.store.unwritable = ApiRefused("a policy denied the request", 422)

        self.store.before_write.append(lose)
        self.look(rotation)
        self.assertEqual((rotation.ready_reason(), self.store.asked), ("a policy denied the request", 2))

    def test_a_registration_that_has_gone_is_said(self) -> None:
        rotation = self.rotation()
        self.store.unwritable = ApiRefused("not found", 404)
        self.look(rotation)
        self.assertEqual(rotation.ready_reason(), "not found")

    def test_an_empty_registration_tells_nobody(self) -> None:
        rotation = self.rotation()
        self.store.configuration["webhooks"] = []
        self.look(rotation)
        self.assertEqual(rotation.ready_reason(), "the registration of the webhook is empty: apply the manifests again")

    def test_what_cannot_be_served_is_made_anew(self) -> None:
        def refuse(_: Generation) -> None:
            raise CredentialsError("no")

        rotation = ServingRotation(self.store, "meshtx", self.clock, self.now, refuse)  # type: ignore[arg-type]  # as above
        self.look(rotation)
        self.assertEqual((rotation.ready_reason(), self.store.bundles()), ("no", {""}))

    def test_a_defect_does_not_end_it(self) -> None:
        self.store.trouble = ZeroDivisionError()
        rotation = self.started()
        self.assertEqual(rotation.ready_reason(), "internal error: ZeroDivisionError")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.store.trouble = None
        self.clock.advance(FIRST)
        self.assertIsNone(rotation.ready_reason())

    def test_when_it_stops_a_look_ends_as_well(self) -> None:
        rotation = self.rotation()
        self.store.trouble = CancelledError()
        self.failureResultOf(Deferred.fromCoroutine(rotation.look()), CancelledError)
        self.assertIsNone(rotation.problem)
