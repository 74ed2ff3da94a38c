"""``meshtx install`` and ``uninstall`` against a real API server."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

import yaml
from click.testing import CliRunner
from twisted.internet.task import Clock

from meshtx.cli import main
from meshtx.kube.api import KubeApi
from meshtx.kube.manifests.rbac import TAPPERS
from meshtx.kube.manifests.shapes import ISSUER_SECRET
from meshtx.kube.manifests.values import Program
from meshtx.kube.self_check import Rule, missing
from meshtx.kube.serving_certificate import authorities_in
from meshtx.kube.serving_rotation import WEBHOOK, Called, ServingRotation
from meshtx.kube.tap_api import CALLED as TAP
from tests.kube.case import ISSUER, KubeTestCase
from tests.kube.plain_api import Document
from tests.kube.test_manifests import needed

OURS = "app.kubernetes.io/part-of=meshtx"

KINDS = (
    "serviceaccounts,secrets,configmaps,services,deployments,roles,rolebindings,networkpolicies,poddisruptionbudgets,"
    "clusterroles,clusterrolebindings,mutatingwebhookconfigurations,apiservices"
)
"""Of what is installed, but the namespace."""

MANY = ("--ha", "--priority-class=system-cluster-critical", "--image-pull-secrets=one,two", "--injector-limits=")

ODD = ("--identity-requests=cpu=1000m,memory=0.0625Gi", "--proxy-cpu-request=0.05", "--proxy-memory-limit=1024Mi")
"""Quantities as API servers do not write them."""


def line(*arguments: str) -> str:
    """Return what ``meshtx`` prints."""
    with CliRunner().isolation() as (out, err, _):
        status = main.run(arguments)
        answer, said = out.getvalue().decode(), err.getvalue().decode()
    if status:
        raise AssertionError(f"meshtx {' '.join(arguments)}: {said}")
    return answer


class InstallCase(KubeTestCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.mesh = f"{self.namespace}-mesh"
        self.given = (f"--namespace={self.mesh}", f"--ca-folder={self.mktemp()}")

    def manifests(self, *more: str) -> str:
        return line("install", *self.given, *more)

    async def install(self, *more: str) -> list[str]:
        """Apply, and return what kubectl says of each object."""
        self.addCleanup(self.uninstall)
        return (await self.kubectl("apply", "-f", "-", input=self.manifests(*more))).splitlines()

    async def uninstall(self) -> None:
        manifests = line("uninstall", f"--namespace={self.mesh}")
        await self.kubectl("delete", "--ignore-not-found", "--wait=false", "-f", "-", input=manifests)

    async def is_gone(self) -> bool:
        return not await self.installed() and (await self.ask("GET", self.own))[0] == 404

    async def installed(self) -> list[Document]:
        """Return everything of ours, but what tests before this one had in namespaces that may still be ending."""
        listed = json.loads(await self.kubectl("get", KINDS, "--all-namespaces", "-l", OURS, "-o", "json"))["items"]
        return [each for each in listed if each["metadata"].get("namespace") in {None, self.mesh, "kube-system"}]

    async def object(self, path: str) -> Document:
        return await self.call("GET", path)

    @property
    def own(self) -> str:
        """The path of the control plane's namespace."""
        return f"/api/v1/namespaces/{self.mesh}"


class AppliedTests(InstallCase):
    async def test_a_strict_dry_run_takes_the_whole(self) -> None:
        """But for the namespace, which a dry run makes for nobody: it is there."""
        await self.call("POST", "/api/v1/namespaces", {"metadata": {"name": self.mesh}})
        self.addCleanup(self.ask, "DELETE", self.own)
        for more in ((), MANY, ("--keep-issuer",)):
            given = self.given[:1] if "--keep-issuer" in more else self.given
            manifests = line("install", *given, *more)
            said = await self.kubectl(
                "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", input=manifests
            )
            self.assertEqual(len(said.splitlines()), len(list(yaml.safe_load_all(manifests))))
            self.assertEqual([each for each in said.splitlines() if "serverside-applied" not in each], [])

    async def test_the_second_time_nothing_changes(self) -> None:
        for more in ((), MANY):
            await self.install(*more)
            before = await self.versions()
            again = [each for each in await self.install(*more) if not each.endswith(" unchanged")]
            # kubectl sends a budget's selector each time, for it is replaced and never merged (patchStrategy in
            # k8s.io/api/policy/v1, kubernetes/kubernetes#99290): the server sees that it is the same
            self.assertEqual([each for each in again if not each.startswith("poddisruptionbudget.policy/")], [])
            self.assertEqual(await self.versions(), before)

    async def test_the_second_time_nothing_changes_by_server_side_apply_either(self) -> None:
        self.addCleanup(self.uninstall)
        seen = []
        for _ in range(2):
            await self.kubectl("apply", "--server-side", "-f", "-", input=self.manifests())
            seen.append(await self.versions())
        self.assertEqual(seen[0], seen[1])

    async def test_each_way_to_apply_follows_the_other(self) -> None:
        """Who applies by hand what a program applied, or the other way round, changes nothing and starts no pod."""
        server_side = ("--server-side",)
        for flags, other in (((), server_side), (server_side, ())):
            manifests = self.manifests(*MANY, *ODD)
            await self.apply_with(*flags, more=(*MANY, *ODD))
            before = await self.specs()
            await self.kubectl("apply", *other, "-f", "-", input=manifests)
            stored = await self.versions()
            await self.kubectl("apply", *other, "-f", "-", input=manifests)
            self.assertEqual(await self.versions(), stored)
            self.assertEqual(await self.specs(), before)
            await self.kubectl("diff", *other, "-f", "-", input=manifests)  # a difference were an error
            await self.uninstall()
            await self.wait_until(self.is_gone, 30, "nothing of ours is left")

    async def specs(self) -> dict[str, Document]:
        """Return everything of ours without what the server and others keep beside it."""
        return {
            each["metadata"]["uid"]: {key: part for key, part in each.items() if key not in {"metadata", "status"}}
            for each in await self.installed()
        }

    async def versions(self) -> dict[str, str]:
        """Return which version everything of ours is in; of what others write into, the version of its spec."""
        described = [each["metadata"] for each in await self.installed()]
        return {each["uid"]: str(each.get("generation") or each["resourceVersion"]) for each in described}

    async def test_applying_again_leaves_what_the_programs_have_written(self) -> None:
        for flags in ((), ("--server-side",)):
            await self.apply_with(*flags)
            written = [await self.announced(each) for each in (WEBHOOK, TAP)]
            before = await self.versions()
            await self.apply_with(*flags)
            self.assertEqual(await self.versions(), before)
            await self.apply_with(*flags, more=("--replicas=2",))
            for each, objects in zip((WEBHOOK, TAP), written, strict=True):
                self.assertEqual(bundles(each, await self.object(each.path)), bundles(each, objects))
            await self.uninstall()
            await self.wait_until(self.is_gone, 30, "nothing of ours is left")

    async def apply_with(self, *flags: str, more: tuple[str, ...] = ()) -> None:
        self.addCleanup(self.uninstall)
        await self.kubectl("apply", *flags, "-f", "-", input=self.manifests(*more))

    async def announced(self, called: Called) -> Document:
        """Return a registration once a program that has the rights of ours alone has written it."""
        account = Program.INJECTOR if called is WEBHOOK else Program.DIRECTORY
        api = await self.api_as(self.mesh, account)
        rotation = ServingRotation(api, self.mesh, Clock(), lambda: datetime.now(UTC), lambda _: None, called=called)
        await rotation.look()
        self.assertIsNone(rotation.ready_reason())
        found = await self.object(called.path)
        self.assertEqual([len(authorities_in(each)) for each in set(bundles(called, found))], [1])
        return found

    async def test_an_installation_can_be_changed_and_keep_its_issuer(self) -> None:
        await self.install()
        before = await self.object(f"{self.own}/secrets/{ISSUER_SECRET}")
        self.given = self.given[:1]
        await self.install("--keep-issuer", "--replicas=2")
        after = await self.object(f"{self.own}/secrets/{ISSUER_SECRET}")
        self.assertEqual(after["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"])

    async def test_uninstall_leaves_nothing(self) -> None:
        await self.install(*MANY)
        manifests = line("uninstall", f"--namespace={self.mesh}")
        await self.kubectl("delete", "--wait=false", "-f", "-", input=manifests)  # what is missing were an error

        await self.wait_until(self.is_gone, 30, "nothing of ours is left")

    async def test_the_pods_of_the_control_plane_come_as_they_were_written(self) -> None:
        await self.install()

        async def all_there() -> list[Document]:
            found: list[Document] = (await self.object(f"{self.own}/pods"))["items"]
            return found if len(found) == len(Program) else []

        pods = await self.wait_until(all_there, 30, "a pod of each program")
        for pod in pods:
            spec = pod["spec"]
            self.assertEqual([each["name"] for each in spec["initContainers"]], ["meshtx-init", "meshtx-proxy"])
            added = [each["name"] for each in spec["volumes"] if each["name"].startswith("kube-api-access-")]
            self.assertEqual(added, [])  # by the server: a token of the API in every container


class RightsTests(InstallCase):
    async def allowed(self, account: str, **attributes: str) -> bool:
        """Ask the server whether a ServiceAccount may do something."""
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{self.mesh}", "system:authenticated"]
        user = f"system:serviceaccount:{self.mesh}:{account}"
        spec = {"user": user, "groups": groups, "resourceAttributes": attributes}
        review = await self.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {"spec": spec})
        allowed: bool = review["status"]["allowed"]
        return allowed

    async def test_no_account_may_do_anything_with_a_secret(self) -> None:
        await self.install()
        namespaces = [each["metadata"]["name"] for each in (await self.object("/api/v1/namespaces"))["items"]]
        self.assertLess({self.mesh, self.namespace, "default", "kube-system"}, set(namespaces))
        verbs = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
        may = [
            (account, verb, namespace, name)
            for account in (*Program, "default")
            for verb in verbs
            for namespace in (*namespaces, "")
            for name in (ISSUER_SECRET, "")
            if await self.allowed(account, verb=verb, resource="secrets", namespace=namespace, name=name)
        ]
        self.assertEqual(may, [])

    async def test_nor_is_any_given_to_one_that_asks(self) -> None:
        """With the tokens that the programs have."""
        await self.install()
        for account in Program:
            token = await self.token(self.mesh, account, ISSUER)
            for path in (f"{self.own}/secrets/{ISSUER_SECRET}", f"{self.own}/secrets", "/api/v1/secrets"):
                status, answer = await self.ask("GET", path, token=token)
                self.assertEqual((status, answer["reason"]), (403, "Forbidden"), path)

    async def test_no_account_can_become_more(self) -> None:
        await self.install()
        group = "rbac.authorization.k8s.io"
        for account in Program:
            for attributes in (
                {"verb": "create", "resource": "pods", "namespace": self.mesh},
                {"verb": "create", "resource": "pods", "subresource": "exec", "namespace": self.mesh},
                {"verb": "create", "resource": "serviceaccounts", "subresource": "token", "namespace": self.mesh},
                {"verb": "patch", "resource": "deployments", "group": "apps", "namespace": self.mesh},
                {"verb": "create", "resource": "clusterrolebindings", "group": group},
                {"verb": "patch", "resource": "clusterroles", "group": group},
                {"verb": "impersonate", "resource": "users"},
            ):
                self.assertFalse(await self.allowed(account, **attributes), (account, attributes))

    async def test_a_right_that_is_taken_away_is_named_by_the_program(self) -> None:
        """And none is in the roles that no program names."""
        await self.install()
        for prefix, namespace, name, account, rules in _roles(self.manifests()):
            api = await self.api_as(self.mesh, account)
            place = f"namespaces/{namespace}/" if namespace else ""
            path = f"/apis/rbac.authorization.k8s.io/v1/{place}{prefix}roles/{name}"
            for less, taken in _each_taken_away(rules, namespace):
                await self.call("PATCH", path, {"rules": less}, kind="merge")
                await self.wait_until(partial(self.is_missing, api, account, [taken]), what=f"{account} misses {taken}")
            await self.call("PATCH", path, {"rules": rules}, kind="merge")
            await self.wait_until(partial(self.is_missing, api, account, []), what=f"{account} misses nothing")

    async def is_missing(self, api: KubeApi, account: str, rules: list[Rule]) -> bool:
        """Say whether the program's own check names exactly these rules."""
        return await missing(api, needed(Program(account), self.mesh)) == rules


def bundles(called: Called, registration: Document) -> list[str]:
    """Return every ``caBundle`` of a registration as PEM."""
    entries = registration["webhooks"] if called is WEBHOOK else [{"clientConfig": registration["spec"]}]
    return [b64decode(each["clientConfig"].get("caBundle") or "").decode() for each in entries]


def _roles(manifests: str) -> Iterator[tuple[str, str, str, str, list[Document]]]:
    """Yield of programs' roles: ``cluster`` or nothing, namespace or nothing, the role's name, account, rules."""
    for each in yaml.safe_load_all(manifests):
        name = each["metadata"]["name"]
        if each["kind"] in {"ClusterRole", "Role"} and name != TAPPERS:
            namespace = each["metadata"].get("namespace", "")
            account = next(program for program in Program if name.startswith(program))
            yield "" if namespace else "cluster", namespace, name, account, each["rules"]


def _each_taken_away(rules: list[Document], namespace: str) -> Iterator[tuple[list[Document], Rule]]:
    """Yield the rules without one verb, and what that was; for each verb of each rule."""
    for place, rule in enumerate(rules):
        (group,), (resource,), (name,) = rule["apiGroups"], rule["resources"], rule.get("resourceNames") or [""]
        for verb in rule["verbs"]:
            verbs = [each for each in rule["verbs"] if each != verb]
            less = [{**rule, "verbs": verbs}] if verbs else []
            yield [*rules[:place], *less, *rules[place + 1 :]], Rule(verb, resource, group, namespace, name)
