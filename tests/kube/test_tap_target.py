from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshtx.kube.tap_names import PATH
from meshtx.kube.tap_target import RESOURCES, WHOLE, NoTarget, TapTarget
from meshtx.kube.workloads import workloads_of
from tests.kube.objects import SHOP, pod

WEB = TapTarget(SHOP, "deployments", "web")
EVERY = TapTarget(SHOP, "deployments")


def owned(kind: str, name: str, api: str = "apps/v1", labels: dict[str, str] | None = None) -> dict[str, Any]:
    owner = {"apiVersion": api, "kind": kind, "name": name, "controller": True}
    return {"ownerReferences": [{"kind": "Node", "name": "n", "apiVersion": "v1"}, owner], "labels": labels or {}}


class WrittenTests(SynchronousTestCase):
    def test_kinds_are_written_as_for_kubectl(self) -> None:
        for text in ("deploy/web", "deployment/web", "deployments/web", "Deployment/web"):
            self.assertEqual(TapTarget.written(text, SHOP), WEB, text)
        self.assertEqual(TapTarget.written("sts/db", SHOP).resource, "statefulsets")
        for text in ("deploy", "deployment", "deployments", "Deployment"):
            self.assertEqual(TapTarget.written(text, SHOP), EVERY, text)
        for text in ("ns/other", "namespace/other"):
            self.assertEqual(TapTarget.written(text, SHOP), TapTarget("other", WHOLE))

    def test_what_cannot_be_tapped_is_said_with_what_can(self) -> None:
        for text, words in (
            ("service/web", "'service' cannot be tapped; there are cronjob, daemonset, deployment"),
            ("deploy/", "'' is no name"),
            ("deploy/a/b", "'a/b' is no name"),
            ("deploy/A", "'A' is no name"),
            ("deploy/-", "'-' is no name"),
            ("/web", "'' cannot be tapped"),
            ("service", "'service' cannot be tapped"),
            ("ns", "which namespace is not said; write ns/NAMESPACE"),
        ):
            self.assertIn(words, str(self.assertRaises(NoTarget, TapTarget.written, text, SHOP)))


class PathTests(SynchronousTestCase):
    def test_a_path_leads_back_to_what_it_was_made_of(self) -> None:
        targets = [TapTarget(SHOP, WHOLE), *(TapTarget(SHOP, each, "web-1.x") for each in RESOURCES)]
        targets += [TapTarget(SHOP, each) for each in RESOURCES]
        for target in targets:
            self.assertEqual(TapTarget.of_path(target.path), target)

    def test_no_other_path_is_one(self) -> None:
        good = f"{PATH}/watch/namespaces/shop/pods/web/tap"
        self.assertIsNotNone(TapTarget.of_path(good))
        for path in (
            "",
            PATH,
            f"x{good}",
            f"{good}/",
            good.replace("watch", "get"),
            good.replace("watch/", "watch//"),
            good.replace("/tap", "/log"),
            good.replace("pods", "services"),
            good.replace("web", "a%2fb"),
            good.replace("web", ""),
            good.replace("web", "%2d"),
            good.replace("web", "--"),
            good.replace("/web", ""),
            good.replace("web", ".."),
            good.replace("shop", "*"),
        ):
            self.assertIsNone(TapTarget.of_path(path), path)

    def test_the_right_is_the_one_that_the_api_server_reads_from_the_path(self) -> None:
        common = {"verb": "watch", "group": "tap.meshtx.io", "version": "v1alpha1", "namespace": SHOP}
        self.assertEqual(WEB.attributes(), {**common, "resource": "deployments", "subresource": "tap", "name": "web"})
        self.assertEqual(EVERY.attributes(), {**common, "resource": "deployments", "subresource": "tap"})
        self.assertEqual(TapTarget(SHOP, WHOLE).attributes(), {**common, "resource": "tap"})


class HoldsTests(SynchronousTestCase):
    def test_pods_are_held_by_what_they_belong_to(self) -> None:
        one = pod("web-1", workloads=("replicasets/web-abc", "deployments/web"))
        for target, held in (
            (WEB, True),
            (TapTarget(SHOP, "replicasets", "web-abc"), True),
            (TapTarget(SHOP, "pods", "web-1"), True),
            (TapTarget(SHOP, WHOLE), True),
            (TapTarget("other", WHOLE), False),
            (TapTarget("other", "deployments", "web"), False),
            (TapTarget(SHOP, "statefulsets", "web"), False),
            (TapTarget(SHOP, "pods", "web"), False),
            (EVERY, True),
            (TapTarget(SHOP, "pods"), True),
            (TapTarget("other", "deployments"), False),
            (TapTarget("other", "pods"), False),
            (TapTarget(SHOP, "statefulsets"), False),
        ):
            self.assertEqual(target.holds(one), held, target)


class WorkloadsTests(SynchronousTestCase):
    def test_a_deployment_is_read_from_its_replica_sets_name(self) -> None:
        labels = {"pod-template-hash": "5f9f6"}
        found = list(workloads_of(owned("ReplicaSet", "web-5f9f6", labels=labels)))
        self.assertEqual(found, ["replicasets/web-5f9f6", "deployments/web"])
        self.assertEqual(list(workloads_of(owned("ReplicaSet", "web-x", labels=labels))), ["replicasets/web-x"])
        self.assertEqual(list(workloads_of(owned("ReplicaSet", "web-5f9f6"))), ["replicasets/web-5f9f6"])

    def test_a_cron_job_is_read_from_its_jobs_name(self) -> None:
        self.assertEqual(
            list(workloads_of(owned("Job", "mail-29412345", "batch/v1"))), ["jobs/mail-29412345", "cronjobs/mail"]
        )
        self.assertEqual(list(workloads_of(owned("Job", "mail-2", "batch/v1"))), ["jobs/mail-2"])

    def test_others_are_their_owner(self) -> None:
        self.assertEqual(list(workloads_of(owned("StatefulSet", "db"))), ["statefulsets/db"])
        self.assertEqual(list(workloads_of({})), [])

    def test_an_owner_of_another_api_is_none_of_these(self) -> None:
        self.assertEqual(list(workloads_of(owned("Job", "mail-2", "batch.example.org/v1"))), [])
        self.assertEqual(list(workloads_of(owned("Rollout", "web", "argoproj.io/v1"))), [])
