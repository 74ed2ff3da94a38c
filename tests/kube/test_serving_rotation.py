"""The rotation against a registration that behaves as the API server's: one writer at a time."""

from __future__ import annotations

from base64 import b64decode, b64encode
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshtx.errors import CredentialsError
from meshtx.kube.api_errors import ApiForbidden, ApiRefused, ApiUnavailable, Object
from meshtx.kube.serving_certificate import LIFETIME, MOST, Generation, authorities_in, generate, to_pem
from meshtx.kube.serving_rotation import EVERY, FIRST, MAX_STEPS, SETTLE, SWITCH, ServingRotation
from meshtx.kube.webhook import webhook_configuration

START = datetime(2026, 11, 25, tzinfo=UTC)
OTHER = generate("meshtx-injector.meshtx.svc", START, timedelta(days=365)).authority
UNTOLD = "API servers are being told whom to believe for the webhook"


class Store:
    """The webhook's configuration with its version."""

    def __init__(self) -> None:
        self.trouble: Exception | None = None
        self.unwritable: Exception | None = None
        self.before_write: list[Any] = []
        self.writes = 0
        self.empty()

    def empty(self) -> None:
        """Make it anew, as the manifests have it."""
        self.writes += 1
        self.configuration: Object = webhook_configuration("meshtx")
        self.configuration["metadata"]["resourceVersion"] = str(self.writes)

    async def get(self, path: str) -> Object:
        assert path == "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/meshtx-injector"
        if self.trouble is not None:
            raise self.trouble
        return deepcopy(self.configuration)

    async def patch(self, path: str, body: list[Object], kind: str) -> Object:
        assert kind == "json"
        if self.before_write:
            self.before_write.pop(0)()
        if self.unwritable is not None:
            raise self.unwritable
        for operation in body:
            if operation["op"] == "test":
                assert operation["path"] == "/metadata/resourceVersion"
                if operation["value"] != self.configuration["metadata"]["resourceVersion"]:
                    raise ApiRefused("conflict", 422)
                continue
            _, _, number, _, field = operation["path"].split("/")
            self.put(int(number), b64decode(operation["value"]).decode(), field)
        return self.configuration

    def put(self, number: int, bundle: str, field: str = "caBundle") -> None:
        """Set what one entry has."""
        self.writes += 1
        self.configuration["webhooks"][number]["clientConfig"][field] = b64encode(bundle.encode()).decode()
        self.configuration["metadata"]["resourceVersion"] = str(self.writes)

    def fill(self, bundle: str) -> None:
        """Set what all entries have."""
        for number, _ in enumerate(self.configuration["webhooks"]):
            self.put(number, bundle)

    def bundles(self) -> set[str]:
        entries = [each["clientConfig"].get("caBundle", "") for each in self.configuration["webhooks"]]
        return {b64decode(entry).decode() for entry in entries}


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.store = Store()
        self.served: list[Generation] = []

    def rotation(self, served: list[Generation] | None = None) -> ServingRotation:
        present = (self.served if served is None else served).append
        return ServingRotation(self.store, "meshtx", self.clock, self.now, present)  # type: ignore[arg-type]  # what it uses of it

    def started(self, served: list[Generation] | None = None) -> ServingRotation:
        """Return one that looks by the clock."""
        rotation = self.rotation(served)
        rotation.startService()
        self.addCleanup(rotation.stopService)
        return rotation

    def now(self) -> datetime:
        return START + timedelta(seconds=self.clock.seconds())

    def look(self, rotation: ServingRotation) -> None:
        self.successResultOf(Deferred.fromCoroutine(rotation.look()))

    def wait(self, seconds: float) -> None:
        """Let as much time go by, a second at a time."""
        self.clock.pump([1.0] * int(seconds))

    def believed(self) -> list[Any]:
        """Return the authorities that every entry has."""
        (bundle,) = self.store.bundles()
        return authorities_in(bundle)

    def until(self, moment: datetime) -> None:
        self.clock.advance((moment - self.now()).total_seconds())


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
        expired = generate("meshtx-injector.meshtx.svc", START, timedelta(seconds=-1)).authority
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
        self.wait(2 * EVERY)
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
        self.assertEqual(self.believed(), [self.served[1].authority])
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
