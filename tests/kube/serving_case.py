"""A registration that behaves as the API server's, one writer at a time; and rotations on a clock that stands still."""

from __future__ import annotations

from base64 import b64decode, b64encode
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshtx.kube.api_errors import ApiRefused, Object
from meshtx.kube.serving_certificate import Generation, authorities_in
from meshtx.kube.serving_rotation import ServingRotation
from meshtx.kube.webhook import webhook_configuration

START = datetime(2026, 11, 25, tzinfo=UTC)


class Store:
    """The webhook's configuration with its version."""

    def __init__(self) -> None:
        self.trouble: Exception | None = None
        self.unwritable: Exception | None = None
        self.before_write: list[Any] = []
        self.asked = 0
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
        self.asked += 1
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
