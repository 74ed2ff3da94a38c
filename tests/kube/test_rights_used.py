"""Each right of the roles that are installed is used: by what the API server writes down of the programs' requests.

Where lists can be streamed, `list` is not used: so here they cannot, as in a cluster of 1.33.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import deferLater

from meshtx.identity import ca_folder
from meshtx.kube.api import KubeApi
from meshtx.kube.api_errors import ApiRefused, Query
from meshtx.kube.events import QUIET, EventRecorder
from meshtx.kube.manifests.values import Program, Values
from meshtx.kube.manifests.whole import documents
from meshtx.kube.self_check import Rule
from meshtx.services import directory
from tests.kube import case
from tests.kube.case import POLL_EVERY, KubeTestCase
from tests.kube.identity_case import KubeIdentityCase
from tests.kube.injector_case import InjectorCase
from tests.kube.plain_api import Document
from tests.kube.tap_api_case import TapApiCase

SECONDS = 10.0
"""Until what was asked for is written down."""

EVERYBODY = Rule("create", "selfsubjectaccessreviews", "authorization.k8s.io")
"""What each account may ask without a role of ours."""


class PagesOnly(KubeApi):
    """The API of a server that does not stream lists."""

    def stream(self, path: str, query: Query, *arguments: Any, **options: Any) -> Deferred[None]:  # Any: as it has them
        if "sendInitialEvents" in query:
            return fail(ApiRefused("sendInitialEvents is forbidden", 422, "Invalid"))
        return super().stream(path, query, *arguments, **options)


def of_program(namespace: str, program: Program) -> list[Document]:
    """Return a program's account and roles."""
    kinds = {"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
    every = documents(Values(namespace=namespace))
    return [each for each in every if each["kind"] in kinds and each["metadata"]["name"].startswith(program.value)]


def held(namespace: str, program: Program) -> set[Rule]:
    """Return the rights of a program, a verb each."""
    return {
        Rule(verb, resource, group, each["metadata"].get("namespace", ""), name)
        for each in of_program(namespace, program)
        for rule in each.get("rules", ())
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
        for verb in rule["verbs"]
    }


def request_of(event: Document) -> Rule:
    """Return what a request needed."""
    reference = event["objectRef"]
    resource = "/".join(filter(None, (reference["resource"], reference.get("subresource", ""))))
    place, name = reference.get("namespace", ""), reference.get("name", "")
    return Rule(event["verb"], resource, reference.get("apiGroup", ""), place, name)


def allows(rule: Rule, request: Rule) -> bool:
    """Tell whether a right is what a request needed."""
    if (rule.verb, rule.resource, rule.group) != (request.verb, request.resource, request.group):
        return False
    return rule.namespace in {"", request.namespace} and rule.name in {"", request.name}


class Asks(KubeTestCase):
    def requests(self, program: Program) -> set[Rule]:
        """Return what a program was given by the API server."""
        events = self.cluster.asked_by(self.namespace, program)
        given = (each for each in events if "objectRef" in each and each["responseStatus"]["code"] < 400)
        return {request_of(each) for each in given}

    def unused(self, program: Program) -> set[Rule]:
        requests = self.requests(program)
        return {each for each in held(self.namespace, program) if not any(allows(each, one) for one in requests)}

    async def assert_uses_its_rights(self, program: Program) -> None:
        """Wait until each right was used, and see that nothing was given by another."""
        deadline = reactor.seconds() + SECONDS
        while self.unused(program) and reactor.seconds() < deadline:
            await deferLater(reactor, POLL_EVERY)
        self.assertEqual(set(map(str, self.unused(program))), set())
        ours = (EVERYBODY, *held(self.namespace, program))
        other = {str(each) for each in self.requests(program) if not any(allows(rule, each) for rule in ours)}
        self.assertEqual(other, set())

    async def written(self, namespace: str, reason: str, count: int) -> None:
        """Wait until an event was told so often."""

        async def is_so() -> bool:
            found = await self.call("GET", f"/api/v1/namespaces/{namespace}/events")
            return count in [each.get("count") for each in found["items"] if each["reason"] == reason]

        await self.wait_until(is_so, 20, f"{reason}, {count} times")

    async def let_time_go_by(self, events: EventRecorder) -> None:
        """Have what happens again be written again; others see an event before its recorder knows where it is."""
        await self.wait_until(lambda: not events._writing, what="the event was written")
        events._wall = lambda: time.time() + QUIET


class IdentityUses(Asks, KubeIdentityCase):
    async def test_each_of_its_rights(self) -> None:
        await self.apply(of_program(self.namespace, Program.IDENTITY))
        service = await self.start()
        await self.wait_until(lambda: service.ready_reason() is None, what="ready")
        self.assertEqual(await self.certify(await self.pod_token()), self.issued())
        key = self.mesh / ca_folder.ISSUER / "tls.key"
        for count in (1, 2):
            key.write_text("no key\n")
            service.issuer._watch.look()
            await self.written(self.namespace, "IssuerUpdateSkipped", count)
            key.unlink()
            ca_folder.issuer(self.mesh, datetime.now(UTC))
            service.issuer._watch.look()
            assert service._events is not None
            await self.let_time_go_by(service._events)
        await self.assert_uses_its_rights(Program.IDENTITY)


class DirectoryUses(Asks, TapApiCase):
    async def setUp(self) -> None:
        self.patch(directory, "KubeApi", PagesOnly)
        await super().setUp()

    async def test_each_of_its_rights(self) -> None:
        await self.deployment()
        await self.tap("deploy/web", "-n", self.apps).until(b"the tap is open")
        await self.assert_uses_its_rights(Program.DIRECTORY)


class InjectorUses(Asks, InjectorCase):
    async def setUp(self) -> None:
        self.patch(case, "KubeApi", PagesOnly)
        await super().setUp()

    async def test_each_of_its_rights(self) -> None:
        await self.a_namespace_that_is_not_known_yet()
        path = f"/apis/apps/v1/namespaces/{self.apps}/deployments"
        labels = {"app": "web"}
        template = {"metadata": {"labels": labels}, "spec": self.a_pod(hostNetwork=True)["spec"]}
        spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
        await self.call("POST", path, {"metadata": {"name": "web"}, "spec": spec})
        await self.written(self.apps, "MeshtxInjection", 1)
        await self.let_time_go_by(self.program.events)
        await self.call("PATCH", f"{path}/web", {"spec": {"replicas": 2}}, kind="merge")
        await self.written(self.apps, "MeshtxInjection", 2)
        await self.assert_uses_its_rights(Program.INJECTOR)

    async def a_namespace_that_is_not_known_yet(self) -> None:
        """Ask for a pod in it: that it was made is not yet heard of."""
        self.program.namespaces.store.clear()
        await self.created(self.a_pod())
