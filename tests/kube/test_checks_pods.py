"""The checks of pods, and of what leads to them: a snapshot in, an outcome out."""

from __future__ import annotations

from dataclasses import replace

from meshtx.kube.checks.outcomes import Passed, Warned
from meshtx.kube.checks.snapshot import Found, Snapshot
from meshtx.kube.sidecar import API_TOKEN_FOLDER, PROXY
from meshtx.kube.webhook import NAME as WEBHOOK
from meshtx.kube.webhook import webhook_configuration
from tests.kube.snapshots import CheckedCase, Json, bare_pod, changed, healthy, meshed_pod, namespace, outcomes


def adopting() -> Snapshot:
    """Return a healthy mesh whose installation adopts Linkerd's annotations."""

    def adopt(each: Json) -> None:
        bundle = each["webhooks"][0]["clientConfig"]["caBundle"]
        each["webhooks"] = webhook_configuration("meshtx", adopt_linkerd=True)["webhooks"]
        for entry in each["webhooks"]:
            entry["clientConfig"]["caBundle"] = bundle

    return changed("MutatingWebhookConfiguration", WEBHOOK, adopt)


class DataPlaneTests(CheckedCase):
    def with_pods(self, *pods: Json) -> Snapshot:
        return healthy(pods=Found([meshed_pod("good"), *pods]))

    def test_pods_that_end_or_are_not_asked_for_are_none(self) -> None:
        ended, ending, elsewhere = bare_pod("a"), bare_pod("b"), bare_pod("c", where="other")
        ended["status"]["phase"] = "Succeeded"
        ending["metadata"]["deletionTimestamp"] = "2026-08-01T12:00:00Z"
        system, own = bare_pod("d", where="kube-system"), bare_pod("e", where="meshtx")
        snapshot = self.with_pods(ended, ending, elsewhere, system, own)
        spaces = [namespace(), namespace("kube-system"), namespace("meshtx")]
        found = outcomes(replace(snapshot, namespaces=Found(spaces)))
        self.assertEqual({type(each) for each in found.values()}, {Passed})

    def test_a_pod_without_a_proxy_is_named(self) -> None:
        name, failed = self.only(self.with_pods(bare_pod("a"), bare_pod("b")))
        self.assertEqual((name, failed.objects), ("pods-injected", ("emojivoto/a", "emojivoto/b")))

    def test_another_control_planes_pods_are_not_ours(self) -> None:
        pod = meshed_pod("other")
        pod["metadata"]["labels"]["meshtx.io/control-plane-ns"] = "other"
        pod["metadata"]["annotations"]["meshtx.io/trust-root-sha256"] = "x"
        self.assertEqual({type(each) for each in outcomes(self.with_pods(pod)).values()}, {Passed})

    def test_a_token_of_the_api_in_our_containers_is_named(self) -> None:
        pod = meshed_pod()
        for container in pod["spec"]["initContainers"]:
            if container["name"] == PROXY:
                container["volumeMounts"][-1] = {"name": "kube-api-access-x", "mountPath": f"{API_TOKEN_FOLDER}/"}
        name, failed = self.only(self.with_pods(pod))
        self.assertEqual((name, failed.objects), ("proxies-tokens", ("emojivoto/web",)))

    def test_a_proxy_that_has_not_begun_is_not_unready(self) -> None:
        pod = meshed_pod()
        pod["status"] = {"phase": "Pending"}
        self.assertIsInstance(outcomes(self.with_pods(pod))["proxies-ready"], Passed)

    def test_every_reason_to_leave_a_pod_out_is_told(self) -> None:
        reasons = (
            bare_pod("a", hostNetwork=True),
            bare_pod("b", containers=[{"name": "istio-proxy"}]),
            bare_pod("c", os={"name": "windows"}),
        )
        name, warned = self.only(self.with_pods(*reasons))
        self.assertEqual((name, len(warned.objects)), ("pods-possible", 3))

    def test_words_of_namespaces_are_looked_at_too(self) -> None:
        wrong = namespace(**{"meshtx.io/inject": "true"})
        wrong["metadata"]["annotations"] = {
            "config.meshtx.io/proxy-log-levels": "debug",
            "config.meshtx.io/skip-inbound-ports": "mysql",
        }
        name, warned = self.only(healthy(namespaces=Found([wrong])))
        self.assertEqual(name, "annotations")
        self.assertEqual(
            [each.partition(";")[0] for each in warned.objects],
            [
                "emojivoto: meshtx.io/inject: 'true' is neither enabled nor disabled",
                "emojivoto: config.meshtx.io/proxy-log-levels: unknown annotation",
            ],
        )

    def test_linkerds_pods_are_none_of_ours(self) -> None:
        pod, theirs = bare_pod("a", where="other"), namespace("other")
        notes = {"linkerd.io/inject": "enabled", "config.linkerd.io/opaque-ports": "3306"}
        pod["metadata"]["annotations"] = theirs["metadata"]["annotations"] = notes
        theirs["metadata"]["labels"] = {}
        found = outcomes(replace(self.with_pods(pod), namespaces=Found([namespace(), theirs])))
        self.assertEqual({type(each) for each in found.values()}, {Passed})

    def test_linkerds_lists_of_ports_are_told_where_they_may_be_counted_on(self) -> None:
        pod, spaces = meshed_pod("a"), [namespace()]
        pod["metadata"]["annotations"]["config.linkerd.io/skip-inbound-ports"] = "9100"
        spaces[0]["metadata"]["annotations"] = {"config.linkerd.io/opaque-ports": "3306"}
        name, warned = self.only(replace(self.with_pods(pod), namespaces=Found(spaces)))
        self.assertEqual((name, len(warned.objects)), ("annotations", 2))
        self.assertIn("write config.meshtx.io/skip-inbound-ports", warned.objects[1])

    def test_pods_by_linkerds_annotation_are_ours_where_they_are_adopted(self) -> None:
        pod, other = bare_pod("a", where="other"), namespace("other")
        pod["metadata"]["annotations"] = {"linkerd.io/inject": "enabled"}
        other["metadata"]["labels"] = {}
        spaces = [namespace(), other]
        spaces[0]["metadata"]["annotations"] = {"config.linkerd.io/opaque-ports": "3306"}
        name, failed = self.only(replace(adopting(), namespaces=Found(spaces), pods=Found([meshed_pod(), pod])))
        self.assertEqual((name, failed.objects), ("pods-injected", ("other/a",)))

    def test_a_policy_may_stand_on_the_namespace_and_its_names_on_the_pod(self) -> None:
        pod, spaces = meshed_pod(), [namespace()]
        names = "web.emojivoto.serviceaccount.identity.meshtx.cluster.local"
        pod["metadata"]["annotations"]["config.meshtx.io/inbound-allow"] = names
        spaces[0]["metadata"]["annotations"] = {"config.meshtx.io/inbound-policy": "listed"}
        found = outcomes(replace(self.with_pods(pod), namespaces=Found(spaces)))
        self.assertIsInstance(found["annotations"], Passed)

    def test_an_annotation_that_refuses_the_pod_is_told(self) -> None:
        pod = meshed_pod()
        pod["metadata"]["annotations"]["config.meshtx.io/inbound-policy"] = "nobody"
        self.assertEqual(self.only(self.with_pods(pod))[0], "annotations")

    def test_namespaces_that_are_about_to_go_are_not_looked_at(self) -> None:
        going = namespace("going", **{"pod-security.kubernetes.io/enforce": "baseline"})
        self.assertEqual(self.only(healthy(namespaces=Found([namespace(), going])))[0], "pod-security")
        going["metadata"]["deletionTimestamp"] = "2026-08-01T12:00:00Z"
        self.assertIsInstance(outcomes(healthy(namespaces=Found([namespace(), going])))["pod-security"], Passed)


class BalancerTests(CheckedCase):
    def told(self, **spec: object) -> bool:
        service = {"metadata": {"name": "s", "namespace": "emojivoto"}, "spec": {"selector": {"app": "web"}, **spec}}
        return isinstance(outcomes(healthy(services=Found([service])))["clients-seen"], Warned)

    def test_only_services_from_outside_that_hide_clients_are_told(self) -> None:
        self.assertTrue(self.told(type="LoadBalancer"))
        self.assertTrue(self.told(type="NodePort", externalTrafficPolicy="Cluster"))
        self.assertTrue(self.told(type="ClusterIP", externalIPs=["192.0.2.1"]))
        self.assertFalse(self.told(type="LoadBalancer", externalTrafficPolicy="Local"))
        self.assertFalse(self.told(type="ClusterIP"))
        self.assertFalse(self.told(type="LoadBalancer", selector={"app": "other"}))
        self.assertFalse(self.told(type="LoadBalancer", selector={}))


class WhichPodsTests(CheckedCase):
    """Which pods the API server shows to the injector."""

    def test_a_selector_that_leaves_more_out_is_named(self) -> None:
        for selector in ("namespaceSelector", "objectSelector"):

            def narrowed(each: Json, selector: str = selector) -> None:
                each["webhooks"][0][selector]["matchLabels"] = {"team": "shop"}

            name, failed = self.only(changed("MutatingWebhookConfiguration", WEBHOOK, narrowed))
            self.assertEqual(
                (name, failed.objects), ("webhook", (f"namespaces.injector.meshtx.io: {selector} differs",))
            )

    def test_an_entry_of_somebody_elses_is_named(self) -> None:
        """Such as one by which the API server would show what it is not asked for."""

        def more(each: Json) -> None:
            each["webhooks"].append({**each["webhooks"][0], "name": "secrets.injector.meshtx.io"})

        name, failed = self.only(changed("MutatingWebhookConfiguration", WEBHOOK, more))
        self.assertEqual(
            (name, failed.objects), ("webhook", ("secrets.injector.meshtx.io: is none of this version's",))
        )
