"""The injector's answers without a cluster: whose annotations count, what is told to whom, what is injected now."""

from __future__ import annotations

import json
from collections.abc import Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from meshtx.errors import ConfigError
from meshtx.kube.admission import Review
from meshtx.kube.api_errors import ApiUnavailable, Object
from meshtx.kube.events import Involved, Type
from meshtx.kube.injected_values import MAX_ANCHORS, InjectedValues
from meshtx.kube.injector import LONGEST, Injector, Marks, Result
from meshtx.kube.sidecar import Values
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.issuer import make_root
from meshtx.pki.name import MeshScope
from tests.kube.injection_case import VALUES, a_pod

ENABLED = {"meshtx.io/inject": "enabled"}
HOST_NETWORK = "not meshed by meshtx: hostNetwork: it shares the network of its node"


class Api:
    """Knows namespaces, and its version."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, Object] = {"/version": {"major": "1", "minor": "36+"}}

    async def get(self, path: str) -> Object:
        self.asked.append(path)
        if path not in self.answers:
            raise ApiUnavailable("away")
        return self.answers[path]


class Namespaces:
    """What is followed."""

    def __init__(self) -> None:
        self.store: dict[str, Marks] = {}
        self.problem: str | None = None


class Events:
    """What is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Involved, str, str, Type]] = []

    def tell(self, involved: Involved, reason: str, message: str, type: Type) -> None:  # noqa: A002  # the API's word
        self.told.append((involved, reason, message, type))


class Case(SynchronousTestCase):
    def result(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(work))


class InjectorTests(Case):
    def setUp(self) -> None:
        self.api, self.namespaces, self.events = Api(), Namespaces(), Events()
        self.results: list[Result] = []
        self.namespaces.store["ns"] = Marks(ENABLED, {})
        self.injector = Injector(
            self.api,  # type: ignore[arg-type]  # what it uses of it
            self.namespaces,  # type: ignore[arg-type]  # likewise
            self.values,
            self.events,
            self.results.append,
        )

    async def values(self) -> Values:
        return VALUES

    def review(self, thing: Object, *, dry_run: bool = False) -> Review:
        return Review("u", "", "Pod", "ns", thing, dry_run=dry_run)

    def pod(self, thing: Object, *, dry_run: bool = False) -> Object:
        answer: Object = json.loads(self.result(self.injector.pod(self.review(thing, dry_run=dry_run))))["response"]
        return answer

    def owned(self) -> Object:
        owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "u", "controller": True}
        others = {"apiVersion": "v1", "kind": "Other", "name": "o"}
        return {"metadata": {"ownerReferences": [others, owner]}, "spec": {"hostNetwork": True, "containers": []}}

    def test_each_question_is_counted(self) -> None:
        for pod, result in (
            (a_pod(), Result.INJECTED),
            (a_pod(hostNetwork=True), Result.SKIPPED),
            (a_pod(securityContext={"runAsUser": 2102}), Result.REFUSED),
        ):
            self.pod(pod)
            self.assertEqual(self.results.pop(), result)

    def test_warnings_go_to_who_asks_and_to_the_controller(self) -> None:
        self.assertEqual(self.pod(self.owned())["warnings"], [HOST_NETWORK])
        owner = Involved("apps/v1", "ReplicaSet", "ns", "web-1", "u")
        self.assertEqual(self.events.told, [(owner, "MeshtxInjection", HOST_NETWORK, Type.WARNING)])

    def test_a_controller_that_is_none_is_told_nothing(self) -> None:
        for odd in ({"uid": []}, {"kind": None}, {"apiVersion": {}}, {"name": 7}):
            thing = self.owned()
            thing["metadata"]["ownerReferences"][1].update(odd)
            self.assertEqual(self.pod(thing)["warnings"], [HOST_NETWORK])
        self.assertEqual(self.events.told, [])

    def test_a_controller_whose_name_is_longer_than_any_is_told_nothing(self) -> None:
        """What was told is kept, to be counted: a hundred names of 9 MB would be more than there is room for."""
        for part in ("apiVersion", "kind", "name", "uid"):
            thing = self.owned()
            thing["metadata"]["ownerReferences"][1][part] = "x" * (LONGEST + 1)
            self.assertEqual(self.pod(thing)["warnings"], [HOST_NETWORK])
        self.assertEqual(self.events.told, [])

    def test_a_dry_run_leaves_no_event(self) -> None:
        self.assertEqual(self.pod(self.owned(), dry_run=True)["warnings"], [HOST_NETWORK])
        self.assertEqual(self.events.told, [])

    def test_a_namespace_that_is_not_known_yet_is_asked_for(self) -> None:
        del self.namespaces.store["ns"]
        self.failureResultOf(Deferred.fromCoroutine(self.injector.pod(self.review(a_pod()))), ApiUnavailable)
        annotations = {"config.meshtx.io/proxy-log-level": "loud", "other": "x"}
        self.api.answers["/api/v1/namespaces/ns"] = {"metadata": {"annotations": annotations, "labels": ENABLED}}
        self.assertIn("'loud' is none of", self.pod(a_pod())["warnings"][0])

    def test_so_is_one_when_they_are_not_followed_now(self) -> None:
        self.namespaces.problem = "away"
        self.failureResultOf(Deferred.fromCoroutine(self.injector.pod(self.review(a_pod()))), ApiUnavailable)
        self.assertEqual(self.api.asked, ["/api/v1/namespaces/ns"])

    def test_a_label_that_has_not_come_to_us_yet_counts(self) -> None:
        self.namespaces.store["ns"] = Marks({}, {})
        self.api.answers["/api/v1/namespaces/ns"] = {"metadata": {"labels": ENABLED}}
        self.assertIn("patch", self.pod(a_pod()))

    def test_who_does_not_ask_for_it_is_left_alone_by_whatever_server_it_comes(self) -> None:
        """Servers that know no matchConditions show every pod."""
        self.namespaces.store["ns"] = Marks({}, {})
        self.api.answers["/api/v1/namespaces/ns"] = {"metadata": {}}
        self.assertEqual(self.pod(a_pod()), {"uid": "u", "allowed": True})
        self.assertEqual(self.results, [Result.SKIPPED])
        asking = {**a_pod(), "metadata": {"labels": ENABLED}}
        self.assertIn("patch", self.pod(asking))

    def test_linkerds_annotation_leaves_no_pod_out(self) -> None:
        theirs = {**a_pod(), "metadata": {"annotations": {"linkerd.io/inject": "disabled"}}}
        self.assertIn("patch", self.pod(theirs))
        self.assertEqual(self.workload({"kind": "Deployment", "spec": {"template": theirs}}), [])

    def test_pod_security_that_forbids_it_is_told(self) -> None:
        self.namespaces.store["ns"] = Marks({**ENABLED, "pod-security.kubernetes.io/enforce": "baseline"}, {})
        (warning,) = self.pod(a_pod())["warnings"]
        self.assertLessEqual(len(warning), 256)
        self.assertIn("label the namespace pod-security.kubernetes.io/enforce=privileged", warning)

    def workload(self, thing: Object) -> list[str]:
        answer = json.loads(self.result(self.injector.workload(self.review(thing))))["response"]
        self.assertTrue(answer["allowed"])
        self.assertNotIn("patch", answer)
        warnings: list[str] = answer.get("warnings", [])
        return warnings

    def test_a_workload_is_told_what_becomes_of_its_pods(self) -> None:
        for spec, warnings in (
            ({"hostNetwork": True}, [HOST_NETWORK]),
            ({}, []),
        ):
            template = a_pod(**spec)
            self.assertEqual(self.workload({"kind": "Deployment", "spec": {"template": template}}), warnings)
            cron = {"kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": template}}}}
            self.assertEqual(self.workload(cron), warnings)

    def test_one_that_does_not_ask_is_told_nothing(self) -> None:
        self.namespaces.store["ns"] = Marks({}, {})
        self.assertEqual(self.workload({"kind": "Job", "spec": {"template": a_pod(hostNetwork=True)}}), [])

    def test_an_object_without_a_template_is_let_through(self) -> None:
        for thing in ({"kind": "Job"}, {"kind": "CronJob", "spec": {"jobTemplate": None}}):
            self.assertEqual(self.workload(thing), [])


class ValuesTests(Case):
    def setUp(self) -> None:
        self.api = Api()
        self.file = Path(self.mktemp())
        self.changes: list[TrustBundle] = []
        self.write()
        self.values = InjectedValues(self.api, VALUES, self.file, self.changes.append)  # type: ignore[arg-type]  # what it uses

    def write(self) -> TrustBundle:
        _, root = make_root(MeshScope(), datetime.now(UTC))
        trust = TrustBundle.of([root])
        self.file.write_bytes(b"# a comment\n" + trust.to_pem())
        return trust

    def get(self) -> Values:
        found: Values = self.result(self.values.get())
        return found

    def test_anchors_are_those_of_the_file_at_this_moment(self) -> None:
        for _ in range(2):
            trust = self.write()
            found = self.get()
            self.assertEqual((found.trust_anchors.encode(), found.trust_digest), (trust.to_pem(), trust.digest))
        self.get()
        self.assertEqual(len(self.changes), 2)

    def test_anchors_that_cannot_be_used_give_nothing(self) -> None:
        for content in (b"", b"x", b"-----BEGIN CERTIFICATE-----\n", b" " * (MAX_ANCHORS + 1)):
            self.file.write_bytes(content)
            self.failureResultOf(Deferred.fromCoroutine(self.values.get()), ConfigError)
            self.assertIsNotNone(self.values.ready_reason())
        self.write()
        self.assertIsNone(self.values.ready_reason())

    def test_native_sidecars_are_for_servers_that_know_them(self) -> None:
        for minor, native in (("36+", True), ("29", True), ("28", False)):
            self.api.answers["/version"] = {"major": "1", "minor": minor}
            values = InjectedValues(self.api, VALUES, self.file)  # type: ignore[arg-type]  # what it uses
            self.assertEqual(self.result(values.get()).native, native)
            self.result(values.get())
        self.assertEqual(self.api.asked, ["/version"] * 3)

    def test_a_server_that_does_not_say_its_version_gets_no_answer(self) -> None:
        for answer in ({}, {"major": "1", "minor": ""}, {"major": "v1", "minor": "30"}):
            self.api.answers["/version"] = answer  # type: ignore[assignment]  # of no one type
            self.failureResultOf(Deferred.fromCoroutine(self.values.get()), ConfigError)
