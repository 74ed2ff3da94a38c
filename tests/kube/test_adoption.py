"""Linkerd's annotations: nothing of ours unless the installation adopts them."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshtx.kube.adoption import adopted, adopted_settings
from meshtx.kube.injection import Injected, Outcome, inject
from meshtx.kube.objects import Pod
from meshtx.kube.ports import parse_ports
from tests.kube.injected import injected_redirect
from tests.kube.injection_case import VALUES, a_pod
from tests.kube.injector_case import INJECT, InjectorCase
from tests.kube.plain_api import Document

LINKERDS = "linkerd.io/inject"


def noted(annotations: dict[str, str], labels: dict[str, str] | None = None) -> dict[str, Any]:
    """Return a pod with these."""
    return {**a_pod(), "metadata": {"name": "web", "annotations": annotations, "labels": labels or {}}}


class TranslationTests(SynchronousTestCase):
    def test_the_annotation_becomes_our_label(self) -> None:
        for word in ("enabled", "disabled"):
            self.assertEqual(adopted(noted({LINKERDS: word}))["metadata"]["labels"], {INJECT: word})

    def test_another_word_says_nothing(self) -> None:
        self.assertEqual(adopted(noted({LINKERDS: "ingress"}))["metadata"]["labels"], {})

    def test_our_own_words_win(self) -> None:
        pod = noted({LINKERDS: "enabled"}, {INJECT: "disabled"})
        self.assertEqual(adopted(pod)["metadata"]["labels"], {INJECT: "disabled"})
        both = {"config.linkerd.io/opaque-ports": "1", "config.meshtx.io/opaque-ports": "2"}
        self.assertEqual(adopted_settings(both), both)

    def test_of_the_settings_the_lists_of_ports_are_read(self) -> None:
        lists = {f"config.linkerd.io/{name}": "7" for name in ("opaque-ports", "skip-inbound-ports")}
        others = {"config.linkerd.io/proxy-log-level": "warn,linkerd=info", "other": "x"}
        ours = {f"config.meshtx.io/{name}": "7" for name in ("opaque-ports", "skip-inbound-ports")}
        self.assertEqual(adopted_settings({**lists, **others}), {**lists, **others, **ours})

    def test_what_is_given_stays_as_it_is(self) -> None:
        pod = noted({LINKERDS: "enabled", "config.linkerd.io/opaque-ports": "1"})
        before = deepcopy(pod)
        adopted(pod)
        self.assertEqual(pod, before)

    def test_a_pod_without_a_word_is_the_same(self) -> None:
        for pod in (a_pod(), {"spec": {}}):
            self.assertEqual(adopted(pod), {"metadata": {}, **pod})


class UnadoptedTests(SynchronousTestCase):
    """Without adoption: a pod that is ours by our own words."""

    def outcome(self, annotations: dict[str, str], labels: dict[str, str] | None = None) -> Outcome:
        return inject(noted(annotations, labels), "shop", {}, VALUES)

    def test_the_annotation_leaves_no_pod_out(self) -> None:
        self.assertIsInstance(self.outcome({LINKERDS: "disabled"}), Injected)

    def test_lists_of_ports_have_no_effect_and_their_author_is_told(self) -> None:
        outcome = self.outcome({"config.linkerd.io/skip-inbound-ports": "9100", "config.linkerd.io/proxy-uid": "1"})
        assert isinstance(outcome, Injected)
        self.assertNotIn("9100", str(outcome.pod["spec"]))
        self.assertEqual(
            outcome.warnings,
            (
                (
                    "config.linkerd.io/skip-inbound-ports: Linkerd's, and without effect here;"
                    " write config.meshtx.io/skip-inbound-ports"
                ),
            ),
        )

    def test_nothing_is_told_of_one_that_stands_there_in_our_words_too(self) -> None:
        both = {"config.linkerd.io/opaque-ports": "1", "config.meshtx.io/opaque-ports": "2"}
        self.assertEqual(self.outcome(both), Injected(self.pod(both), ()))

    def pod(self, annotations: dict[str, str]) -> Document:
        outcome = self.outcome(annotations)
        assert isinstance(outcome, Injected)
        return outcome.pod

    def test_the_directory_reads_ours_alone(self) -> None:
        pod = noted({"config.linkerd.io/opaque-ports": "1", "config.linkerd.io/skip-inbound-ports": "2"})
        pod["metadata"]["namespace"] = "shop"
        read = Pod.read(pod)
        self.assertEqual((read.opaque, read.skip), (None, ()))


class TheirsTests(InjectorCase):
    async def test_their_pods_start_while_our_injector_is_dead(self) -> None:
        """A real API server does not ask it: with ours, which it must ask, no pod is made."""
        theirs = await self.new_namespace()
        await self.program.stopService()
        status, stored = await self.create(noted({LINKERDS: "enabled"}), theirs)
        self.assertEqual(status, 201, stored)
        self.assertNotIn("initContainers", stored["spec"])
        status, told = await self.create(noted({}), self.apps)
        self.assertEqual(status, 500, told)
        self.assertIn("namespaces.injector.meshtx.io", told["message"])


class AdoptingTests(InjectorCase):
    adopt_linkerd = True

    async def test_who_asks_for_it(self) -> None:
        plain = await self.new_namespace()
        for namespace, labels, marks, meshed in (
            (self.apps, {}, {}, True),
            (self.apps, {}, {LINKERDS: "disabled"}, False),
            (self.apps, {INJECT: "enabled"}, {LINKERDS: "disabled"}, True),
            (plain, {}, {}, False),
            (plain, {}, {LINKERDS: "enabled"}, True),
            (plain, {}, {LINKERDS: "ingress"}, False),
            (plain, {INJECT: "enabled"}, {}, True),
            (plain, {INJECT: "disabled"}, {LINKERDS: "enabled"}, False),
        ):
            status, stored = await self.create(noted(marks, labels), namespace, dry_run=True)
            self.assertEqual(status, 201, stored)
            self.assertEqual("initContainers" in stored["spec"], meshed, (namespace == self.apps, labels, marks))

    async def test_a_pod_is_stored_in_our_words_too(self) -> None:
        namespace = f"{self.apps}-new"
        note = {"config.linkerd.io/opaque-ports": "3306"}
        await self.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace, "annotations": note}})
        self.addCleanup(self._remove_namespace, namespace)
        account = {"metadata": {"name": "web"}}
        await self.call("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", account)
        pod = noted({LINKERDS: "enabled", "config.linkerd.io/skip-inbound-ports": "9100"})
        pod["spec"]["serviceAccountName"] = "web"
        stored = await self.created(pod, namespace)
        self.assertEqual(stored["metadata"]["labels"][INJECT], "enabled")
        self.assertEqual(stored["spec"]["initContainers"][0]["args"], injected_redirect("9100"))
        read = Pod.read(stored)
        self.assertEqual((read.opaque, read.skip), (parse_ports("3306"), parse_ports("9100")))

    async def test_pods_that_are_left_out_start_while_the_injector_is_dead(self) -> None:
        await self.program.stopService()
        status, stored = await self.create(noted({LINKERDS: "disabled"}), self.apps)
        self.assertEqual(status, 201, stored)
        status, told = await self.create(noted({LINKERDS: "enabled"}), await self.new_namespace())
        self.assertEqual(status, 500, told)
        self.assertIn("linkerd.injector.meshtx.io", told["message"])
