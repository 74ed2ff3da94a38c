"""The policy in docs/kubernetes.md: what it leaves of the injector's right on its webhook's configuration."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import yaml
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock

from meshtx.kube.api import KubeApi
from meshtx.kube.api_errors import ApiForbidden, ApiRefused
from meshtx.kube.serving_certificate import Generation
from meshtx.kube.serving_rotation import ServingRotation
from meshtx.kube.webhook import NAME
from tests.kube.case import KubeTestCase
from tests.kube.injector_case import WEBHOOK, manifests
from tests.kube.plain_api import Document

DOCS = Path(__file__).parents[2] / "docs" / "kubernetes.md"
POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
REFUSED = "the injector may change nothing but whom API servers believe"

WIDER = (
    ("/webhooks/0/rules/0/resources", ["secrets"]),
    ("/webhooks/0/rules/0/operations", ["*"]),
    ("/webhooks/0/namespaceSelector", {}),
    ("/webhooks/0/objectSelector", {}),
    ("/webhooks/0/matchConditions", []),
    ("/webhooks/0/matchPolicy", "Exact"),
    ("/webhooks/0/failurePolicy", "Ignore"),
    ("/webhooks/0/clientConfig/service/namespace", "elsewhere"),
    ("/webhooks/0/name", "other.injector.meshtx.io"),
)
"""What would show the injector more than its pods, or it to others."""


def policy(namespace: str) -> list[Document]:
    """Return what the documentation says, for a control plane of this namespace."""
    (text,) = re.findall(r"```yaml\n(apiVersion: .*?)```", DOCS.read_text(), re.DOTALL)
    return list(yaml.safe_load_all(text.replace(":meshtx:", f":{namespace}:")))


class GuardTests(KubeTestCase):
    async def setUp(self) -> None:
        await super().setUp()
        await self.apply(manifests(self.namespace, adopt_linkerd=True))  # which has all that a webhook can have
        kinds = [each["kind"] for each in policy(self.namespace)]
        await self.apply(policy(self.namespace))
        for kind in kinds:
            self.addCleanup(self.delete, kind, NAME)
        self.injector = await self.api_as(self.namespace, NAME)
        await self.wait_until(lambda: self.is_refused(self.injector, *WIDER[0]), 30, "the policy")

    async def is_refused(self, api: KubeApi, path: str, value: object) -> bool:
        """Say whether the policy refuses a change; it is tried and not made."""
        try:
            await api.patch(WEBHOOK, [{"op": "replace", "path": path, "value": value}], "json", dryRun="All")
        except (ApiForbidden, ApiRefused) as error:
            return REFUSED in str(error)
        return False

    def rotation(self, present: Callable[[Generation], None] = lambda _: None) -> ServingRotation:
        return ServingRotation(self.injector, self.namespace, Clock(), lambda: datetime.now(UTC), present)

    async def test_the_injector_can_do_its_work(self) -> None:
        served: list[Generation] = []
        rotation = self.rotation(served.append)
        await rotation.look()
        self.assertIsNone(rotation.ready_reason())
        self.assertEqual(served, [rotation.current])

    async def test_a_policy_that_forbids_it_is_named(self) -> None:
        """The API server's answer has the status of one to who was not the first."""
        validation = {"message": "nobody touches this", "expression": "false"}
        change = {"spec": {"validations": [validation]}}
        await self.call("PATCH", f"{POLICIES}/{NAME}", change, kind="merge")
        patch = [{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]

        async def forbids() -> bool:
            try:
                await self.injector.patch(WEBHOOK, patch, "json", dryRun="All")
            except ApiRefused as error:
                return "nobody touches this" in str(error)
            return False

        await self.wait_until(forbids, 30, "the policy")
        rotation = self.rotation()
        await rotation.look()
        self.assertRegex(rotation.ready_reason() or "", "422 Invalid .*nobody touches this")

    async def test_who_was_not_the_first_tries_again(self) -> None:
        others = [self.rotation() for _ in range(4)]
        await gatherResults([Deferred.fromCoroutine(each.look()) for each in others])
        self.assertEqual([each.problem for each in others], [None] * 4)

    async def test_it_can_show_itself_nothing_else(self) -> None:
        for path, value in WIDER:
            self.assertTrue(await self.is_refused(self.injector, path, value), path)
        more = {**(await self.call("GET", WEBHOOK))["webhooks"][0], "name": "more.injector.meshtx.io"}
        for change in ({"op": "add", "path": "/webhooks/-", "value": more}, {"op": "remove", "path": "/webhooks/0"}):
            with self.assertRaisesRegex(ApiRefused, REFUSED):
                await self.injector.patch(WEBHOOK, [change], "json", dryRun="All")

    async def test_administrators_can_go_on(self) -> None:
        for path, value in WIDER:
            self.assertFalse(await self.is_refused(self.api, path, value), path)
