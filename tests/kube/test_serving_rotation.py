"""The rotation against a Secret and a configuration that behave as the API server's do: one writer at a time."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshtx.kube.api_errors import ApiRefused, ApiUnavailable, Object
from meshtx.kube.serving_certificate import LIFETIME, PRUNE, SWITCH, Generation, Kept, from_data, to_data
from meshtx.kube.serving_rotation import EVERY, FIRST, ServingRotation
from meshtx.kube.webhook import webhook_configuration

START = datetime(2026, 11, 25, tzinfo=UTC)


class Store:
    """Two objects with their versions."""

    def __init__(self) -> None:
        self.secret: Object = {"metadata": {"resourceVersion": "1"}, "type": "Opaque"}
        self.configuration: Object = webhook_configuration("meshtx")
        self.configuration["metadata"]["resourceVersion"] = "1"
        self.trouble: Exception | None = None
        self.before_write: list[Any] = []
        self.writes = 1

    async def get(self, path: str) -> Object:
        if self.trouble is not None:
            raise self.trouble
        found = self.secret if path == "/api/v1/namespaces/meshtx/secrets/meshtx-injector-tls" else self.configuration
        return deepcopy(found)

    async def put(self, path: str, body: Object) -> Object:
        self._written(body["metadata"]["resourceVersion"], lambda: self.secret, 409)
        self.secret = {**body, "metadata": {"resourceVersion": str(self.writes)}}
        return self.secret

    async def patch(self, path: str, body: list[Object], kind: str) -> Object:
        assert kind == "json"
        test, *rest = body
        assert (test["op"], test["path"]) == ("test", "/metadata/resourceVersion")
        self._written(test["value"], lambda: self.configuration, 422)
        for operation in rest:
            _, _, number, _, field = operation["path"].split("/")
            self.configuration["webhooks"][int(number)]["clientConfig"][field] = operation["value"]
        self.configuration["metadata"]["resourceVersion"] = str(self.writes)
        return self.configuration

    def _written(self, version: str, there: Callable[[], Object], status: int) -> None:
        if self.before_write:
            self.before_write.pop(0)()
        if version != there()["metadata"]["resourceVersion"]:
            raise ApiRefused("conflict", status)
        self.writes += 1

    @property
    def kept(self) -> Kept:
        return from_data(self.secret.get("data") or {})

    def bundles(self) -> set[str]:
        entries = [each["clientConfig"].get("caBundle", "") for each in self.configuration["webhooks"]]
        return {b64decode(entry).decode() for entry in entries}


class RotationTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.store = Store()
        self.served: list[Generation] = []

    def rotation(self, served: list[Generation] | None = None) -> ServingRotation:
        def present(generation: Generation) -> None:
            (self.served if served is None else served).append(generation)
            self.assert_believed(generation)

        return ServingRotation(self.store, "meshtx", self.clock, self.now, present)  # type: ignore[arg-type]  # what it uses of it

    def assert_believed(self, generation: Generation) -> None:
        """Nothing is served that is not believed, but the very first."""
        if self.store.bundles() != {""}:
            self.assertIn(Kept(generation).bundle(), self.store.bundles().pop())

    def now(self) -> datetime:
        return START + timedelta(seconds=self.clock.seconds())

    def look(self, rotation: ServingRotation) -> None:
        self.successResultOf(Deferred.fromCoroutine(rotation.look()))

    def test_an_empty_secret_is_filled_and_announced_in_one_look(self) -> None:
        rotation = self.rotation()
        self.assertEqual(rotation.ready_reason(), "there is no certificate yet")
        self.look(rotation)
        self.assertIsNone(rotation.ready_reason())
        self.assertEqual(self.store.bundles(), {self.store.kept.bundle()})
        self.assertEqual(self.served, [rotation.current])
        self.assertEqual(self.store.secret["type"], "Opaque")

    def test_a_whole_rotation_of_two_replicas_by_the_clock(self) -> None:
        others: list[Generation] = []
        one, two = self.rotation(), self.rotation(others)
        for each in (one, two):
            each.startService()
            self.addCleanup(each.stopService)
        first = self.store.kept.current
        assert first is not None
        self.clock.advance((first.renew_at() - START).total_seconds())
        self.assertEqual(len(self.served), 1)
        self.clock.pump([EVERY] * int((SWITCH + EVERY) / EVERY))
        second = self.store.kept.current
        assert second is not None
        self.assertNotEqual(second.leaf, first.leaf)
        self.assertEqual([each.leaf for each in self.served], [first.leaf, second.leaf])
        self.assertEqual([each.leaf for each in others], [first.leaf, second.leaf])
        self.assertEqual(self.store.bundles(), {Kept(second, previous=first.authority).bundle()})
        self.clock.pump([EVERY] * int(PRUNE / EVERY + 2))
        self.assertEqual(self.store.bundles(), {Kept(second).bundle()})
        writes = self.store.writes
        self.clock.pump([EVERY] * 100)
        self.assertEqual(self.store.writes, writes)

    def test_who_comes_second_takes_what_the_first_one_wrote(self) -> None:
        other = self.rotation([])
        self.store.before_write.append(lambda: self.look(other))
        rotation = self.rotation()
        self.look(rotation)
        assert rotation.current is not None
        assert other.current is not None
        self.assertEqual(rotation.current.leaf, other.current.leaf)

    def test_an_emptied_secret_gets_back_what_is_served_and_believed(self) -> None:
        rotation = self.rotation()
        self.look(rotation)
        before = self.store.kept
        for data in ({}, {"tls.crt": "!"}):
            self.store.secret["data"] = data
            self.look(rotation)
            self.assertEqual(to_data(self.store.kept), to_data(before))
        self.assertEqual(len(self.served), 1)

    def test_a_configuration_that_comes_anew_is_told_again(self) -> None:
        rotation = self.rotation()
        self.look(rotation)
        self.store.configuration = webhook_configuration("meshtx")
        self.store.configuration["metadata"]["resourceVersion"] = "99"
        self.look(rotation)
        self.assertEqual(self.store.bundles(), {self.store.kept.bundle()})

    def test_trouble_is_told_and_what_is_served_stays(self) -> None:
        rotation = self.rotation()
        self.store.trouble = ApiUnavailable("away")
        self.look(rotation)
        self.assertEqual(rotation.ready_reason(), "away")
        self.store.trouble = None
        self.look(rotation)
        self.store.trouble = ApiUnavailable("away")
        self.look(rotation)
        self.assertEqual((rotation.ready_reason(), rotation.problem), (None, "away"))
        self.clock.advance(LIFETIME.total_seconds())
        self.assertEqual(rotation.ready_reason(), "the certificate has expired; away")

    def test_a_defect_does_not_end_it(self) -> None:
        rotation = self.rotation()
        self.store.trouble = ZeroDivisionError()
        rotation.startService()
        self.addCleanup(rotation.stopService)
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
