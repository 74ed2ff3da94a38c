"""Who is shut out by a policy: a snapshot in, an outcome out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from meshtx.kube.checks.outcomes import Failed, Passed, Warned
from meshtx.kube.checks.snapshot import Found, Snapshot
from tests.kube.snapshots import CheckedCase, Json, bare_pod, healthy, meshed_pod, outcomes

POLICY, SKIP = "config.meshtx.io/inbound-policy", "config.meshtx.io/skip-inbound-ports"
PORTS = [{"name": "web", "containerPort": 8080}]


def closed(name: str = "web", *, policy: str = "all-authenticated", skip: str = "", **container: Any) -> Json:
    """Return a pod as the injector has made it, with a policy that lets in proven peers alone."""
    pod = bare_pod(name)
    pod["metadata"]["annotations"] = {POLICY: policy, **({SKIP: skip} if skip else {})}
    pod["spec"]["containers"][0] |= {"ports": PORTS, **container}
    return meshed_pod(pod=pod)


def older(pod: Json, **fields: Any) -> Json:
    """Return the pod as an injector made it that left probes as they were."""
    app = next(each for each in pod["spec"]["containers"] if each["name"] == "app")
    app |= fields
    return pod


def http(port: int | str, **more: str) -> Json:
    return {"httpGet": {"path": "/healthy", "port": port, **more}}


class KubeletTests(CheckedCase):
    def found(self, *pods: Json) -> Any:
        return outcomes(healthy(pods=Found(list(pods))))["kubelet-let-in"]

    def test_probes_that_the_proxy_makes_are_let_in(self) -> None:
        pod = closed(readinessProbe=http("web"), livenessProbe={"grpc": {"port": 8080}})
        self.assertEqual(self.found(pod), Passed())

    def test_those_that_it_does_not_make_are_named(self) -> None:
        pod = older(closed(), readinessProbe=http("web"), livenessProbe={"grpc": {"port": 9000}})
        name, failed = self.only(healthy(pods=Found([pod])))
        self.assertEqual(name, "kubelet-let-in")
        assert isinstance(failed, Failed)
        self.assertEqual(
            failed.objects,
            (
                "emojivoto/web: the readiness probe of container app, at port 8080",
                "emojivoto/web: the liveness probe of container app, at port 9000",
            ),
        )
        self.assertIn("make the pods anew", failed.hint)

    def test_a_hook_by_http_is_no_probe_and_is_named(self) -> None:
        pod = closed(lifecycle={"preStop": http(8080), "postStart": {"exec": {"command": ["true"]}}})
        self.assertEqual(self.found(pod).objects, ("emojivoto/web: the hook preStop of container app, at port 8080",))

    def test_the_policy_that_counts_is_the_running_proxys(self) -> None:
        """An annotation of today is that of the next pod."""
        pod = older(closed(policy="all-unauthenticated"), readinessProbe=http("web"))
        pod["metadata"]["annotations"][POLICY] = "all-authenticated"
        self.assertEqual(self.found(pod), Passed())
        self.assertIsInstance(self.found(older(closed(policy="listed"), readinessProbe=http("web"))), Failed)

    def test_what_does_not_come_to_the_proxy_is_not_named(self) -> None:
        for probe in (
            http(8080, host="192.0.2.1"),
            http("unknown"),
            http(4191),
            {"tcpSocket": {"port": 8080}},
            {"exec": {"command": ["true"]}},
        ):
            self.assertEqual(self.found(older(closed(), readinessProbe=probe)), Passed(), probe)
        self.assertEqual(self.found(older(closed(skip="web"), readinessProbe=http("web"))), Passed())


class OutsideTests(CheckedCase):
    def service(self, kind: str = "NodePort", **port: Any) -> Json:
        ports = [{"port": 80, "targetPort": "web", **port}]
        spec = {"type": kind, "selector": {"app": "web"}, "ports": ports, "externalTrafficPolicy": "Local"}
        return {"metadata": {"name": "front", "namespace": "emojivoto"}, "spec": spec}

    def snapshot(self, service: Json, *pods: Json) -> Snapshot:
        return replace(healthy(), services=Found([service]), pods=Found(list(pods)))

    def test_a_service_from_outside_is_named_with_pod_and_port(self) -> None:
        name, warned = self.only(self.snapshot(self.service(), closed()))
        self.assertEqual(name, "outside-let-in")
        assert isinstance(warned, Warned)
        self.assertEqual(warned.objects, ("emojivoto/front: NodePort, port 80: leads to port 8080 of emojivoto/web",))
        self.assertIn("config.meshtx.io/inbound-policy: all-unauthenticated", warned.hint)

    def test_of_many_pods_one_is_named(self) -> None:
        others = [closed(f"web-{number}") for number in range(3)]
        for pod in others:
            pod["metadata"]["labels"]["app"] = "web"
        (said,) = outcomes(self.snapshot(self.service("LoadBalancer"), *others))["outside-let-in"].objects  # type: ignore[union-attr]  # it is no Passed
        self.assertTrue(said.endswith("leads to port 8080 of emojivoto/web-0 and 2 more pods"), said)

    def test_who_is_let_in_is_not_named(self) -> None:
        for service, pod in (
            (self.service("ClusterIP"), closed()),
            (self.service(), closed(policy="all-unauthenticated")),
            (self.service(), closed(skip="8080")),
            (self.service(), closed("other")),
            (self.service(protocol="UDP"), closed()),
            (self.service(targetPort="unknown"), closed()),
        ):
            self.assertEqual(outcomes(self.snapshot(service, pod))["outside-let-in"], Passed())

    def test_without_a_target_the_port_is_the_same(self) -> None:
        service = self.service(port=8443, targetPort=None)
        (said,) = outcomes(self.snapshot(service, closed()))["outside-let-in"].objects  # type: ignore[union-attr]  # it is no Passed
        self.assertIn("leads to port 8443 of", said)
