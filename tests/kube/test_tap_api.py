"""Taps by the rights of kubectl: a real API server before the directory, real tap ports behind it."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request

from twisted.internet.threads import deferToThread

from meshtx.kube.tap_names import PATH, SERVICE
from tests.kube.binaries import binaries
from tests.kube.plain_api import Document
from tests.kube.tap_api_case import PORT, RULE, TAPPERS, TapApiCase


class TapApiTests(TapApiCase):
    async def test_the_proxy_of_a_deployments_pod_is_seen_as_it_would_be_seen_alone(self) -> None:
        (name,) = await self.deployment()
        tap = self.tap("deploy/web", "-n", self.apps, "--max-lines=2")
        await tap.until(b"the tap is open")
        self.proxies[name].exchange("/api/list")
        self.assertEqual(await tap.status, 0, tap.err)
        ends = "src=10.1.0.4:48210 dst=10.1.0.2:80 tls=true"
        request, answer = tap.out.decode().splitlines()
        self.assertEqual(request, f"req id=0:0 proxy=in  {ends} :method=GET :authority=web:80 :path=/api/list")
        self.assertRegex(answer, rf"^rsp id=0:0 proxy=in  {ends} :status=200 latency=\d+µs$")

    async def test_kubectl_itself_shows_the_lines(self) -> None:
        (name,) = await self.deployment()
        tap = self.raw(f"{PATH}/watch/namespaces/{self.apps}/pods/{name}/tap?path=/b")
        await tap.until(b"the tap is open")
        self.proxies[name].exchange("/a")
        self.proxies[name].exchange("/b")
        await tap.until(b'"/b"')
        lines = [json.loads(line) for line in tap.out.splitlines() if line]
        self.assertEqual({each["pod"] for each in lines}, {name})
        self.assertNotIn(b'"/a"', tap.out)

    async def test_pods_that_come_and_go_do_so_in_the_tap(self) -> None:
        (first,) = await self.deployment()
        tap = self.tap("ns/" + self.apps, "-o", "wide")
        await tap.until(f"{first}: the tap is open".encode())
        scale = {"spec": {"replicas": 2}}
        path = f"/apis/apps/v1/namespaces/{self.apps}/deployments/web"
        await self.call("PATCH", path, scale, kind="merge")
        (second,) = set(await self.running(2)) - {first}
        await tap.until(f"{second}: the tap is open".encode())
        self.proxies[second].exchange("/second")
        await tap.until(b":path=/second peer=web.emojivoto.serviceaccount.identity.meshtx.cluster.local")
        await tap.until(f"target={second}".encode())
        await self.delete_pod(first, self.apps)
        await tap.until(f"{first}: the pod is gone".encode())

    async def test_another_directory_takes_over(self) -> None:
        """API servers believe both, each by its own authority."""
        await self.deployment()
        address = await self.place("another")
        second = await self.start(address)
        await self.wait_until(lambda: second.taps.rotation.ready_reason() is None, 20.0, "whom API servers believe")
        await self.program.stopService()
        await self.delete_pod("directory")
        await self.wait_until(self.is_alone, what="the only endpoint")

        async def is_answered() -> bool:  # until API servers have heard which one is left
            return (await self.ask("GET", PATH))[0] == 200

        await self.wait_until(is_answered, 20.0, "an answer of the other one")
        await self.tap("deploy/web", "-n", self.apps).until(b"the tap is open")
        self.assertEqual(second.metrics.registry.get_sample_value("meshtx_tap_api_open"), 1)

    async def is_alone(self) -> bool:
        return len(await self.endpoints(SERVICE)) == 1

    async def test_when_the_user_goes_nobody_is_watched_any_more(self) -> None:
        (name,) = await self.deployment()
        tap = self.tap("deploy/web", "-n", self.apps)
        await tap.until(b"the tap is open")
        registry = self.program.metrics.registry
        self.assertEqual(registry.get_sample_value("meshtx_tap_api_open"), 1)
        self.assertEqual(len(self.proxies[name].hub.subscriptions), 1)
        self.process.signalProcess("INT")
        self.assertEqual(await tap.status, 0)
        await self.wait_until(lambda: not self.proxies[name].hub.subscriptions, what="the end of the proxy's tap")
        self.assertEqual(registry.get_sample_value("meshtx_tap_api_open"), 0)

    async def test_a_user_may_have_what_the_cluster_allows_and_no_more(self) -> None:
        (name,) = await self.deployment()
        file = await self.user("watcher", RULE)
        tap = self.tap("deploy/web", "-n", self.apps, kubeconfig=file)
        await tap.until(b"the tap is open")
        for target in (f"pod/{name}", f"ns/{self.apps}", "deploy"):
            refused = self.tap(target, "-n", self.apps, kubeconfig=file)
            self.assertEqual(await refused.status, 1)
            self.assertIn(b"system:serviceaccount:%s:watcher" % self.apps.encode(), refused.err)
            self.assertIn(b"ask for the ClusterRole meshtx-tap", refused.err)
            self.assertEqual(refused.err.count(b"\n"), 1)

    async def test_a_rule_for_the_placeholder_of_every_name_is_not_one_for_every_name(self) -> None:
        """The API server itself takes ``-`` for a name, and lets this user through."""
        await self.deployment()
        refused = self.tap(
            "deploy", "-n", self.apps, kubeconfig=await self.user("sly", {**RULE, "resourceNames": ["-"]})
        )
        self.assertEqual(await refused.status, 1)
        self.assertIn(b"sly may not watch deployments/tap of tap.meshtx.io without resourceNames", refused.err)

    async def test_a_kind_without_a_name_is_all_of_its_pods_and_later_ones(self) -> None:
        (first,) = await self.deployment()
        alone = self.template()
        alone["metadata"]["name"] = "alone"
        await self.call("POST", f"/api/v1/namespaces/{self.apps}/pods", alone)
        await self.running(2)
        kinds = {key: value for key, value in RULE.items() if key != "resourceNames"}
        tap = self.tap("deploy", "-n", self.apps, "-o", "wide", kubeconfig=await self.user("kinds", kinds))
        await tap.until(f"{first}: the tap is open".encode())
        path = f"/apis/apps/v1/namespaces/{self.apps}/deployments/web"
        await self.call("PATCH", path, {"spec": {"replicas": 2}}, kind="merge")
        (second,) = set(await self.running(3)) - {first, "alone"}
        await tap.until(f"{second}: the tap is open".encode())
        self.proxies[second].exchange("/second")
        await tap.until(f"target={second}".encode())
        self.assertNotIn(b"alone", tap.out + tap.err)

    async def test_the_role_for_users_is_enough_for_everything_in_a_namespace(self) -> None:
        await self.deployment()
        await self.call("POST", f"/api/v1/namespaces/{self.apps}/serviceaccounts", {"metadata": {"name": "ops"}})
        account = f"system:serviceaccount:{self.apps}:ops"

        async def may(what: str) -> bool:
            arguments = ("auth", "can-i", "watch", what, "--subresource=tap", "-n", self.apps, f"--as={account}", "-q")
            return await self.ask_kubectl(*arguments) == 0

        self.assertFalse(await may("deployments.tap.meshtx.io/web"))
        binding = ("create", "rolebinding", "ops", "-n", self.apps, f"--clusterrole={TAPPERS}")
        await self.kubectl(*binding, f"--serviceaccount={self.apps}:ops")
        await self.wait_until(lambda: may("deployments.tap.meshtx.io/web"), what="the right")

    async def ask_kubectl(self, *arguments: str) -> int:
        process = self.run_program(str(binaries() / "kubectl"), *arguments, KUBECONFIG=str(self.kubeconfig))
        return await process.status

    async def test_who_asks_is_believed_from_the_front_proxy_alone(self) -> None:
        """The cluster's own admin, with a good certificate, may say in headers whom he likes."""
        path = f"{PATH}/watch/namespaces/{self.apps}/tap"
        for pair in (None, self.cluster.admin):
            context = ssl._create_unverified_context()
            if pair:
                context.load_cert_chain(pair.certificate, pair.key)
            for each in (path, PATH, "/apis", "/"):
                self.assertEqual(await deferToThread(self.direct, each, context), (401, "Unauthorized"))

    def direct(self, path: str, context: ssl.SSLContext) -> tuple[int, str]:
        headers = {"X-Remote-User": "admin", "X-Remote-Group": "system:masters"}
        request = urllib.request.Request(f"https://{self.address}:{PORT}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, context=context, timeout=10) as answer:
                return answer.status, ""
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())["reason"]

    async def test_what_cannot_be_tapped_is_said(self) -> None:
        await self.pod("plain", "10.77.0.1", {"app": "plain"}, namespace=self.apps)
        await self.wait_until(lambda: self.known("10.77.0.1"), what="the directory's knowing the pod")
        for target, words in (
            ("deploy/none", "deployments/none: no pods in namespace"),
            ("pod/plain", "pods/plain: none of 1 pods is meshed"),
        ):
            tap = self.tap(target, "-n", self.apps)
            self.assertEqual(await tap.status, 1)
            self.assertIn(words, tap.err.decode())
        tap = self.tap("deploy/web", "-n", self.apps, "--peer=x")
        self.assertEqual(await tap.status, 2)
        self.assertIn("'x'", tap.err.decode())

    async def test_discovery_works_and_namespaces_end(self) -> None:
        found = await self.call("GET", PATH)
        names = {each["name"] for each in found["resources"]}
        self.assertLessEqual({"deployments/tap", "pods/tap", "tap"}, names)
        groups = await self.call("GET", "/apis")
        self.assertIn("tap.meshtx.io", [each["name"] for each in groups["groups"]])
        path = f"/api/v1/namespaces/{self.apps}-more"
        await self.call("POST", "/api/v1/namespaces", {"metadata": {"name": f"{self.apps}-more"}})
        await self.call("DELETE", path)

        async def gone() -> bool:
            return (await self.ask("GET", path))[0] == 404

        await self.wait_until(gone, 30.0, what="the end of the namespace")

    async def test_without_the_directory_the_user_is_told_what_is_away(self) -> None:
        await self.program.stopService()
        tap = self.tap("deploy/web", "-n", self.apps)
        self.assertEqual(await tap.status, 1)
        self.assertIn(b"kubectl get apiservice v1alpha1.tap.meshtx.io", tap.err)
        await self.delete("APIService", "v1alpha1.tap.meshtx.io")

        async def unknown() -> bool:
            return (await self.ask("GET", PATH))[0] == 404

        await self.wait_until(unknown, what="the API server's forgetting it")
        tap = self.tap("deploy/web", "-n", self.apps)
        self.assertEqual(await tap.status, 1)
        self.assertIn(b"the cluster has no API tap.meshtx.io: install meshtx there", tap.err)

    async def test_a_missing_right_of_the_directorys_is_trouble_and_no_denial(self) -> None:
        await self.deployment()
        role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/meshtx-directory"
        rules: list[Document] = (await self.call("GET", role))["rules"]
        less = [each for each in rules if each["resources"] != ["subjectaccessreviews"]]
        await self.call("PATCH", role, {"rules": less}, kind="merge")

        async def answer() -> str:
            _, said = await self.ask("GET", f"{PATH}/watch/namespaces/{self.apps}/deployments/none/tap")
            return str(said.get("reason"))

        await self.wait_until(lambda: _is(answer(), "ServiceUnavailable"), what="the trouble")


async def _is(answer: object, expected: str) -> bool:
    return await answer == expected  # type: ignore[misc]
