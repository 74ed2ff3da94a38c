"""What the injector makes of a pod, field by field, and what it makes nothing of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from meshtx.kube.annotations import Resources
from meshtx.kube.injection import Injected, Skip, Skipped, inject
from meshtx.kube.sidecar import ConfigMapKey, Family
from meshtx.pki.name import Name
from meshtx.proxy.policy import Mode
from meshtx.wire.address import Address
from tests.config_case import PEM
from tests.kube.injected import injected_proxy, injected_redirect, injected_volumes
from tests.kube.injection_case import VALUES, Case, EnvironmentCase, a_pod, annotated


class NativeTests(Case):
    def test_redirect_and_proxy_come_before_all_that_is_the_users(self) -> None:
        spec = self.inject(a_pod(initContainers=[{"name": "migrate"}]))["spec"]
        self.assertEqual([each["name"] for each in spec["initContainers"]], ["meshtx-init", "meshtx-proxy", "migrate"])
        self.assertEqual([each["name"] for each in spec["containers"]], ["app"])

    def test_the_redirect_is_root_with_one_capability_and_nothing_else(self) -> None:
        init = self.inject(a_pod())["spec"]["initContainers"][0]
        self.assertEqual(
            init,
            {
                "name": "meshtx-init",
                "image": "example.org/meshtx:1",
                "imagePullPolicy": "IfNotPresent",
                "command": ["nft"],
                "args": injected_redirect(),
                "resources": Resources().manifest(),
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
                    "readOnlyRootFilesystem": True,
                    "runAsUser": 0,
                    "runAsGroup": 0,
                    "runAsNonRoot": False,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": [
                    {
                        "name": "meshtx-no-api-token",
                        "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
                        "readOnly": True,
                    }
                ],
            },
        )

    def test_the_proxy(self) -> None:
        proxy = self.inject(a_pod())["spec"]["initContainers"][1]
        self.assertEqual({key: value for key, value in proxy.items() if key != "env"}, injected_proxy())

    def test_the_volumes_are_added_to_those_that_are_there(self) -> None:
        spec = self.inject(a_pod(volumes=[{"name": "data", "emptyDir": {}}]))["spec"]
        self.assertEqual(spec["volumes"], [{"name": "data", "emptyDir": {}}, *injected_volumes()])

    def test_label_and_annotations_say_who_meshed_it_and_with_what(self) -> None:
        pod = self.inject({**a_pod(), "metadata": {"labels": {"app": "web"}, "annotations": {"a": "b"}}})
        self.assertEqual(
            pod["metadata"],
            {
                "labels": {"app": "web", "meshtx.io/control-plane-ns": "meshtx"},
                "annotations": {
                    "a": "b",
                    "meshtx.io/created-by": "meshtx/injector 1",
                    "meshtx.io/proxy-version": "1",
                    "meshtx.io/trust-root-sha256": "d1",
                },
            },
        )

    def test_what_stays_the_same_is_not_copied(self) -> None:
        """A million tolerations are 3 MB as they are written, and their copy would be the end of an injector."""
        pod = a_pod(tolerations=[{}])
        self.assertIs(self.inject(pod)["spec"]["tolerations"], pod["spec"]["tolerations"])

    def test_a_pod_with_nulls_where_parts_could_be(self) -> None:
        pod = {
            "metadata": {"labels": None, "annotations": None},
            "spec": {"containers": [{"name": "a", "ports": None}], "initContainers": None, "volumes": None},
        }
        spec = self.inject(pod)["spec"]
        self.assertEqual((len(spec["initContainers"]), len(spec["volumes"])), (2, 3))


class ClassicTests(EnvironmentCase):
    def test_the_proxy_is_the_first_container_and_the_others_wait_for_it(self) -> None:
        for values, pod in (
            (VALUES, annotated(proxy_kind="classic")),
            (replace(VALUES, native=False), a_pod()),
        ):
            pod["spec"]["initContainers"] = [{"name": "migrate"}]
            injected = self.inject(pod, values=values)
            spec = injected["spec"]
            self.assertEqual([each["name"] for each in spec["initContainers"]], ["migrate", "meshtx-init"])
            self.assertEqual([each["name"] for each in spec["containers"]], ["meshtx-proxy", "app"])
            proxy = spec["containers"][0]
            self.assertEqual(
                proxy["lifecycle"], {"postStart": {"exec": {"command": ["meshtx", "wait", "--timeout=120s"]}}}
            )
            self.assertNotIn("restartPolicy", proxy)
            self.assertEqual(injected["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"], "app")

    def test_the_proxy_outlives_the_workload_within_the_time_that_the_pod_has(self) -> None:
        """The kubelet tells both to end at the same moment; a native one it tells when the workload has ended."""
        for pod, seconds in (
            (annotated(proxy_kind="classic"), 30.0),
            ({**annotated(proxy_kind="classic"), "spec": a_pod(terminationGracePeriodSeconds=120)["spec"]}, 120.0),
            ({**annotated(proxy_kind="classic"), "spec": a_pod(terminationGracePeriodSeconds=0)["spec"]}, 1.0),
            (annotated(proxy_kind="classic", drain_timeout="10s"), 10.0),
        ):
            config = self.config(pod)
            self.assertEqual((config.outlive_workload, config.drain_timeout), (True, seconds))
        config = self.config(a_pod(terminationGracePeriodSeconds=120))
        self.assertEqual((config.outlive_workload, config.drain_timeout), (False, 30.0))

    def test_a_default_container_that_is_chosen_stays(self) -> None:
        pod = annotated(proxy_kind="classic")
        pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"] = "other"
        injected = self.inject(pod)
        self.assertEqual(injected["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"], "other")

    def test_a_native_one_that_the_server_does_not_know_would_never_end(self) -> None:
        values = replace(VALUES, native=False)
        outcome = inject(annotated(proxy_kind="native"), "emojivoto", {}, values)
        assert isinstance(outcome, Injected)
        self.assertEqual([each["name"] for each in outcome.pod["spec"]["containers"]], ["meshtx-proxy", "app"])
        self.assertEqual(len(outcome.warnings), 1)


class EnvironmentTests(EnvironmentCase):
    def test_meshproxy_takes_it(self) -> None:
        config = self.config(a_pod())
        self.assertEqual(
            (str(config.name), str(config.identity_address), str(config.directory_address), config.trust_anchors),
            (
                "web.emojivoto.serviceaccount.identity.meshtx.cluster.local",
                "meshtx-identity.meshtx.svc.cluster.local:8080",
                "meshtx-directory.meshtx.svc.cluster.local:8086",
                PEM,
            ),
        )
        self.assertEqual(config.identity_name, VALUES.identity_name)
        self.assertEqual(config.directory_name, VALUES.directory_name)
        self.assertEqual(config.tap_identity, (VALUES.directory_name,))
        self.assertEqual((config.inbound_policy, config.metrics_identity), (Mode.ALL_UNAUTHENTICATED, ()))

    def test_a_policy_and_whom_it_lets_in(self) -> None:
        bot = "vote-bot.emojivoto.serviceaccount.identity.meshtx.cluster.local"
        config = self.config(annotated(inbound_policy="listed", inbound_allow=bot))
        self.assertEqual((config.inbound_policy, config.inbound_allow), (Mode.LISTED, (Name.parse(bot),)))

    def test_each_family_has_listeners_that_do_not_clash(self) -> None:
        for family, inbound in (
            (Family.IPV4, (Address.of("0.0.0.0", 4143),)),
            (Family.IPV6, (Address.of("::", 4143),)),
            (Family.DUAL, (Address.of("0.0.0.0", 4143), Address.of("::", 4143))),
        ):
            values = replace(VALUES, family=family)
            self.assertEqual(self.config(a_pod(), values).inbound_listen, inbound)

    def test_who_reads_metrics_is_a_value(self) -> None:
        reader = Name.parse("prometheus.monitoring.serviceaccount.identity.meshtx.cluster.local")
        values = replace(VALUES, metrics_names=(reader,))
        self.assertEqual(self.config(a_pod(), values).metrics_identity, (reader,))

    def test_the_control_planes_own_pods_read_the_anchors_where_they_change(self) -> None:
        values = replace(VALUES, anchors_from=ConfigMapKey("m", "k"))
        env = self.inject(a_pod(), values=values)["spec"]["initContainers"][1]["env"]
        anchors = next(each for each in env if each["name"] == "MESHTX_PROXY_TRUST_ANCHORS")
        self.assertEqual(anchors["valueFrom"], {"configMapKeyRef": {"name": "m", "key": "k"}})


class DoubtfulTests(Case):
    def test_what_works_otherwise_than_its_author_may_think_is_told(self) -> None:
        for pod, told in (
            (a_pod(shareProcessNamespace=True), "can read the key of the pod's proxy"),
            (
                {**annotated(proxy_kind="classic"), "spec": {"containers": [], "restartPolicy": "Never"}},
                "POST http://localhost:4191/shutdown ends it",
            ),
        ):
            (warning,) = self.warnings(pod)
            self.assertIn(told, warning)
        self.assertEqual(self.warnings(a_pod(restartPolicy="Never")), ())


def requested(pod: dict[str, Any], container: str, kind: str = "f:containers") -> dict[str, Any]:
    """Return a pod as the API server shows it that was asked to make one with this container."""
    fields = {"f:spec": {kind: {f'k:{{"name":"{container}"}}': {"f:name": {}}}, "f:volumes": {}}}
    managed = [{"manager": "kubectl"}, {"manager": "other", "fieldsV1": None}, {"manager": "x", "fieldsV1": fields}]
    return {**pod, "metadata": {**pod["metadata"], "managedFields": managed}}


class SkippedTests(Case):
    def test_what_cannot_have_a_proxy_says_why(self) -> None:
        for pod, reason in (
            (a_pod(hostNetwork=True), Skip.HOST_NETWORK),
            (a_pod(containers=[{"name": "meshtx-proxy"}]), Skip.INJECTED),
            (a_pod(initContainers=[{"name": "linkerd-proxy"}]), Skip.OTHER_MESH),
            (a_pod(os={"name": "windows"}), Skip.WINDOWS),
            (a_pod(nodeSelector={"kubernetes.io/os": "windows"}), Skip.WINDOWS),
            ({**a_pod(), "metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}}, Skip.STATIC),
        ):
            self.assertEqual(self.outcome(pod), Skipped(reason, (f"not meshed by meshtx: {reason.value}",)))

    def test_who_asked_to_be_left_out_is_not_told_so(self) -> None:
        metadata = {"labels": {"meshtx.io/inject": "disabled"}}
        self.assertEqual(self.outcome({**a_pod(), "metadata": metadata}), Skipped(Skip.DISABLED))

    def test_what_was_injected_is_left_alone_and_says_nothing(self) -> None:
        """When the API server asks again: the request did not have the proxy."""
        for pod in (a_pod(), annotated(proxy_kind="classic")):
            self.assertEqual(self.outcome(requested(self.inject(pod), "app")), Skipped(Skip.INJECTED))

    def test_a_pod_that_is_made_from_an_injected_one_is_left_alone_and_says_so(self) -> None:
        warned = Skipped(Skip.INJECTED, (f"not injected again: {Skip.INJECTED.value}",))
        for pod in (a_pod(), annotated(proxy_kind="classic")):
            injected = self.inject(pod)
            for kind in ("f:initContainers", "f:containers"):
                self.assertEqual(self.outcome(requested(injected, "meshtx-proxy", kind)), warned)
            self.assertEqual(self.outcome(injected), warned)  # a template


class RefusedTests(Case):
    def test_the_proxys_user_is_the_proxys_alone(self) -> None:
        uid = {"runAsUser": 2102}
        for spec in (
            {"securityContext": uid},
            {"containers": [{"name": "app", "securityContext": uid}]},
            {"initContainers": [{"name": "app", "securityContext": uid}]},
        ):
            self.assertEqual(
                self.problem(a_pod(**spec)),
                "container 'app' runs as user 2102, which is the proxy's: its connections would pass the mesh by; give"
                " it another runAsUser",
            )

    def test_a_containers_own_user_is_what_counts(self) -> None:
        other = {"name": "app", "securityContext": {"runAsUser": 1000}}
        self.inject(a_pod(securityContext={"runAsUser": 2102}, containers=[other]))

    def test_an_account_that_no_certificate_can_name(self) -> None:
        problem = self.problem(a_pod(serviceAccountName="web.v2"))
        self.assertIn("service account 'web.v2' is not a DNS label", problem)

    def test_a_policy_that_nobody_knows_lets_nobody_in(self) -> None:
        self.assertEqual(
            self.problem(annotated(inbound_policy="all-authenticate")),
            "config.meshtx.io/inbound-policy: 'all-authenticate' is none of all-unauthenticated, all-authenticated,"
            " listed; write all-unauthenticated|all-authenticated|listed, such as all-unauthenticated",
        )
        self.assertIn("'x' is not", self.problem(annotated(inbound_policy="listed", inbound_allow="x")))
