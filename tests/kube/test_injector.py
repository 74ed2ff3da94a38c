"""Pods as a real API server stores them, once the injector has seen them."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from meshtx.cli.inject import command as inject
from meshtx.config import ProxyConfig, settings
from meshtx.kube import injection, injector
from meshtx.kube.admission import Review, allowed
from meshtx.kube.annotations import CONTROL_PLANE
from meshtx.kube.injection import Outcome, Skip, Skipped
from meshtx.kube.serving_certificate import generate
from meshtx.kube.sidecar import INIT
from meshtx.kube.webhook_site import WebhookSite
from meshtx.net.site_tls import SiteFactory, SiteTls
from tests.kube.injected import injected_proxy, injected_redirect, injected_volumes
from tests.kube.injector_case import INJECT, PORT, WEBHOOK, InjectorCase, manifests
from tests.kube.plain_api import Document
from tests.services.admin import metrics_status

API_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"


def by_name(things: list[Document]) -> dict[str, Document]:
    return {each["name"]: each for each in things}


def included(part: Any, whole: Any) -> bool:
    """Say whether a value is the same but for what the API server added to its mappings."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and included(part[key], whole[key]) for key in part)
    if isinstance(part, list):
        return isinstance(whole, list) and len(part) == len(whole) and all(map(included, part, whole))
    return bool(part == whole)


class StoredTests(InjectorCase):
    async def test_the_pod_as_it_is_stored(self) -> None:
        pod = await self.created(self.a_pod(initContainers=[{"name": "migrate", "image": "example.org/migrate:1"}]))
        spec, metadata = pod["spec"], pod["metadata"]
        self.assertEqual([each["name"] for each in spec["initContainers"]], ["meshtx-init", "meshtx-proxy", "migrate"])
        self.assertEqual([each["name"] for each in spec["containers"]], ["app"])
        proxy = by_name(spec["initContainers"])["meshtx-proxy"]
        self.assertTrue(included(injected_proxy(), proxy), json.dumps(proxy, indent=1))
        self.assertEqual(metadata["labels"]["meshtx.io/control-plane-ns"], self.namespace)
        self.assertEqual(metadata["annotations"]["meshtx.io/trust-root-sha256"], self.trust.digest)
        volumes = by_name(spec["volumes"])
        for volume in injected_volumes():
            self.assertTrue(included(volume, volumes[volume["name"]]), volumes[volume["name"]])

    async def test_what_the_api_server_adds_to_the_proxy_is_known(self) -> None:
        """Its defaults alone: nothing of another plugin's has come into our containers."""
        pod = await self.created(self.a_pod())
        init, proxy = pod["spec"]["initContainers"]
        self.assertEqual(set(proxy) - set(injected_proxy()), {"env", "terminationMessagePath"})
        self.assertEqual(
            init["securityContext"],
            {
                "allowPrivilegeEscalation": False,
                "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
                "runAsGroup": 0,
                "runAsNonRoot": False,
                "runAsUser": 0,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        )
        known = {each.variable for each in settings(ProxyConfig)}
        given = {each["name"] for each in proxy["env"]}
        self.assertEqual(given - known, {"MESHTX_POD_NAMESPACE", "MESHTX_POD_SERVICE_ACCOUNT"})

    async def test_neither_of_our_containers_has_the_pods_api_token(self) -> None:
        for kind in ("native", "classic"):
            pod = self.a_pod(kind)
            pod["metadata"]["annotations"] = {"config.meshtx.io/proxy-kind": kind}
            spec = (await self.created(pod))["spec"]
            containers = by_name([*spec["initContainers"], *spec["containers"]])
            (volume,) = (each["name"] for each in spec["volumes"] if each["name"].startswith("kube-api-access-"))
            mounts = {
                name: {mount["mountPath"]: mount["name"] for mount in each["volumeMounts"]}
                for name, each in containers.items()
            }
            self.assertEqual(mounts["app"][API_TOKEN], volume)
            for name in ("meshtx-init", "meshtx-proxy"):
                self.assertEqual(mounts[name][API_TOKEN], "meshtx-no-api-token")
                self.assertNotIn(volume, mounts[name].values())

    async def test_who_asks_for_it(self) -> None:
        plain = await self.new_namespace()
        for namespace, labels, marks, meshed in (
            (self.apps, {}, {}, True),
            (self.apps, {INJECT: "disabled"}, {}, False),
            (self.apps, {INJECT: "yes"}, {}, True),
            (self.apps, {}, {"linkerd.io/inject": "disabled"}, True),
            (plain, {}, {}, False),
            (plain, {INJECT: "enabled"}, {}, True),
            (plain, {INJECT: "yes"}, {}, False),
            (plain, {}, {"linkerd.io/inject": "enabled"}, False),
        ):
            pod = self.a_pod()
            pod["metadata"] |= {"labels": labels, "annotations": marks}
            status, stored = await self.create(pod, namespace, dry_run=True)
            self.assertEqual(status, 201, stored)
            self.assertEqual("initContainers" in stored["spec"], meshed, (namespace == self.apps, labels, marks))

    async def test_a_namespaces_annotations_count_from_its_first_moment(self) -> None:
        body = {
            "metadata": {
                "name": f"{self.apps}-new",
                "labels": {INJECT: "enabled"},
                "annotations": {"config.meshtx.io/skip-inbound-ports": "9100"},
            }
        }
        await self.call("POST", "/api/v1/namespaces", body)
        self.addCleanup(self._remove_namespace, f"{self.apps}-new")
        pod = self.a_pod(serviceAccountName="web")
        account = {"metadata": {"name": "web"}}
        await self.call("POST", f"/api/v1/namespaces/{self.apps}-new/serviceaccounts", account)
        stored = await self.created(pod, f"{self.apps}-new")
        self.assertEqual(stored["spec"]["initContainers"][0]["args"], injected_redirect("9100"))
        self.assertEqual(stored["metadata"]["annotations"]["config.meshtx.io/skip-inbound-ports"], "9100")

    async def test_new_anchors_reach_the_next_pod(self) -> None:
        trust = self.new_anchors()
        _, pod = await self.create(self.a_pod(), dry_run=True)
        env = by_name(by_name(pod["spec"]["initContainers"])["meshtx-proxy"]["env"])
        self.assertEqual(env["MESHTX_PROXY_TRUST_ANCHORS"]["value"].encode(), trust.to_pem())


class MetricsTests(InjectorCase):
    async def test_its_metrics_are_this_hosts_alone(self) -> None:
        self.assertEqual(metrics_status(self.program.listeners, "10.1.0.4"), 403)
        self.assertEqual(metrics_status(self.program.listeners, "127.0.0.1"), 200)


class WorkloadTests(InjectorCase):
    """The example's workloads, as controllers make pods of them."""

    workloads = ("web", "emoji", "voting", "vote-bot")

    def manifests(self, namespace: str) -> str:
        """Return what the example's author has written, who knows of no mesh."""
        return "".join(_WORKLOAD.format(name=name, namespace=namespace) for name in self.workloads)

    async def meshed(self, namespace: str) -> None:
        """See that the pods of all of them come with their proxy."""
        path = f"/api/v1/namespaces/{namespace}/pods"
        pods: list[Document] = []

        async def there() -> bool:
            pods[:] = (await self.call("GET", path))["items"]
            return len(pods) == len(self.workloads)

        await self.wait_until(there, what="the pods")
        self.assertEqual({each["spec"]["serviceAccountName"] for each in pods}, set(self.workloads))
        for pod in pods:
            init, proxy = pod["spec"]["initContainers"]
            self.assertEqual((init["name"], [each["name"] for each in pod["spec"]["containers"]]), (INIT, ["server"]))
            self.assertTrue(included(injected_proxy(), proxy), json.dumps(proxy, indent=1))
            self.assertEqual(pod["metadata"]["labels"][CONTROL_PLANE], self.namespace)

    async def test_a_labelled_namespace_comes_back_meshed(self) -> None:
        await self.kubectl("apply", "-f", "-", input=self.manifests(self.apps))
        await self.meshed(self.apps)

    async def test_so_do_manifests_that_were_injected(self) -> None:
        namespace = await self.new_namespace()
        result = CliRunner().invoke(inject, ["-"], input=self.manifests(namespace))
        self.assertEqual(result.exit_code, 0, result.stderr)
        await self.kubectl("apply", "-f", "-", input=result.stdout)
        await self.meshed(namespace)


_WORKLOAD = """\
---
apiVersion: v1
kind: ServiceAccount
metadata: {{name: {name}, namespace: {namespace}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  selector:
    matchLabels: {{app: {name}}}
  template:
    metadata:
      labels: {{app: {name}}}
    spec:
      serviceAccountName: {name}
      containers:
        - name: server
          image: docker.l5d.io/buoyantio/emojivoto-{name}:v11
          ports: [{{name: http, containerPort: 8080}}]
"""


class RefusedTests(InjectorCase):
    async def test_the_proxys_user_in_words(self) -> None:
        message = await self.refusal(self.a_pod(securityContext={"runAsUser": 2102}))
        self.assertIn("denied the request: meshtx: container 'app' runs as user 2102, which is the proxy's", message)

    async def test_pod_security_says_what_it_refuses(self) -> None:
        enforced = {INJECT: "enabled", "pod-security.kubernetes.io/enforce": "baseline"}
        namespace = await self.new_namespace(**enforced)
        message = await self.refusal(self.a_pod(), namespace)
        for words in ('violates PodSecurity "baseline:latest"', "NET_ADMIN", "meshtx-init"):
            self.assertIn(words, message)

    async def test_a_quota_is_satisfied_by_what_both_containers_say(self) -> None:
        kinds = ("requests.cpu", "limits.cpu", "requests.memory", "limits.memory")
        quota = {"metadata": {"name": "all"}, "spec": {"hard": dict.fromkeys(kinds, "4Gi")}}
        await self.call("POST", f"/api/v1/namespaces/{self.apps}/resourcequotas", quota)
        await self.wait_until(self.quota_is_known, what="the quota")
        self.assertIn("must specify limits.cpu for: app", await self.refusal(self.a_pod()))
        pod = self.a_pod()
        pod["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "1", "memory": "1Gi"}}
        await self.created(pod)

    async def quota_is_known(self) -> bool:
        quota = await self.call("GET", f"/api/v1/namespaces/{self.apps}/resourcequotas/all")
        return bool(quota.get("status", {}).get("hard"))

    async def test_while_it_is_down_only_those_that_ask_for_it_wait(self) -> None:
        await self.program.stopService()
        message = await self.refusal(self.a_pod())
        self.assertIn('failed calling webhook "namespaces.injector.meshtx.io"', message)
        for namespace in (self.namespace, await self.new_namespace(), "kube-system"):
            status, answer = await self.create(self.a_pod(), namespace, dry_run=True)
            self.assertIn(status, (201, 403), answer)
            self.assertNotIn("webhook", answer.get("message", ""))
        await self.start()
        await self.created(self.a_pod())

    async def test_one_that_stops_answers_until_nobody_asks_it(self) -> None:
        await self.program.stopService()
        program = await self.start(shutdown_delay="3s")
        stopped = program.stopService()
        self.assertEqual(program.ready_reason(), "the injector is stopping")
        await self.created(self.a_pod())
        self.assertFalse(stopped.called)
        await stopped
        self.assertIn("failed calling webhook", await self.refusal(self.a_pod("late")))

    async def test_trouble_of_ours_is_no_answer(self) -> None:
        self.anchors.unlink()
        message = await self.refusal(self.a_pod())
        self.assertIn("failed calling webhook", message)
        self.assertIn("the injector cannot answer", message)
        self.assertEqual(self.count(self.program, "failed"), 1)
        self.assertEqual(len(self.flushLoggedErrors()), 1)
        self.assertIn("no such file", self.program.ready_reason() or "")


class AgainTests(InjectorCase):
    """Another webhook, called after ours, changes the pod: then ours is called again."""

    async def setUp(self) -> None:
        await super().setUp()
        host = f"second.{self.namespace}.svc"
        generation = generate(host, self.program.now())
        tls = SiteTls()
        tls.present(generation.leaf, generation.key)
        site = WebhookSite({"/": self.change}, reactor=reactor, answered=lambda _: None)
        site.resource.putChild(b"change", site.resource.children.pop(b""))
        self.addCleanup(lambda: Deferred.fromCoroutine(site.stop()))
        port = reactor.listenTCP(PORT + 1, SiteFactory(tls, site), interface=self.address)
        self.addCleanup(port.stopListening)
        self.changed = 0
        self.outcomes: list[Outcome] = []
        self.patch(injector, "inject", self.inject)
        await self.service(
            "second", {"app.kubernetes.io/name": "meshtx-injector"}, [{"port": 443, "targetPort": PORT + 1}]
        )
        await self.wait_until(lambda: self.endpoints("second"), what="an endpoint")
        hook = {
            "name": "second.example.org",
            "clientConfig": {
                "service": {"name": "second", "namespace": self.namespace, "path": "/change"},
                "caBundle": b64encode(generation.authority.public_bytes(Encoding.PEM)).decode(),
            },
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.apps}},
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }
        configuration = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": f"zz-{self.apps}"},
            "webhooks": [hook],
        }
        await self.apply([configuration])
        await self.wait_until(self.is_changed, what="the second webhook")

    def inject(self, *given: Any) -> Outcome:
        self.outcomes.append(injection.inject(*given))
        return self.outcomes[-1]

    async def change(self, review: Review) -> bytes:
        """Add a container, once."""
        self.changed += 1
        pod = review.object
        if pod["spec"]["containers"][-1]["name"] == "extra":
            return allowed(review)
        spec = {**pod["spec"], "containers": [*pod["spec"]["containers"], {"name": "extra", "image": "example.org/x"}]}
        return allowed(review, {**pod, "spec": spec})

    async def is_changed(self) -> bool:
        await self.create(self.a_pod(), dry_run=True)
        return self.changed > 0

    async def test_called_again_it_changes_nothing(self) -> None:
        before = self.count(self.program, "skipped")
        spec = (await self.created(self.a_pod()))["spec"]
        self.assertEqual([each["name"] for each in spec["initContainers"]], ["meshtx-init", "meshtx-proxy"])
        self.assertEqual([each["name"] for each in spec["containers"]], ["app", "extra"])
        self.assertEqual(self.count(self.program, "skipped"), before + 1)
        self.assertEqual(self.outcomes[-1], Skipped(Skip.INJECTED))
        names = [each["name"] for each in spec["volumes"]]
        self.assertEqual(len(names), len(set(names)))

    async def test_a_pod_that_is_made_from_an_injected_one_is_told_so(self) -> None:
        """As ``kubectl get pod -o json | kubectl create -f -`` does."""
        stored = await self.created(self.a_pod())
        metadata = {key: stored["metadata"][key] for key in ("labels", "annotations", "managedFields")}
        for fields in ({}, {"managedFields": []}):
            await self.created({**stored, "metadata": {**metadata, **fields, "name": f"copy-{len(fields)}"}})
            self.assertEqual(self.outcomes[-1], Skipped(Skip.INJECTED, (f"not injected again: {Skip.INJECTED.value}",)))


class ConfigurationTests(InjectorCase):
    async def test_an_apply_keeps_what_the_injector_wrote(self) -> None:
        before = await self.call("GET", WEBHOOK)
        self.assertTrue(all(each["clientConfig"].get("caBundle") for each in before["webhooks"]))
        await self.apply(manifests(self.namespace))
        self.assertEqual((await self.call("GET", WEBHOOK))["webhooks"], before["webhooks"])
