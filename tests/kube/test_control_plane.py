"""The control plane of the tests is a real one: what the other tests rely on, each thing once."""

from meshtx.kube.api_errors import ApiForbidden
from tests.kube.binaries import version
from tests.kube.case import AUDIENCE, KubeTestCase
from tests.kube.control_plane import KubectlFailed
from tests.kube.flags import ISSUER
from tests.kube.plain_api import Document, Refused

REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"


class TestControlPlane(KubeTestCase):
    async def review(self, token: str, audience: str) -> Document:
        answer = await self.call("POST", REVIEWS, {"spec": {"token": token, "audiences": [audience]}})
        status: Document = answer["status"]
        return status

    async def test_it_is_of_the_version_that_the_go_module_names(self) -> None:
        self.assertEqual((await self.call("GET", "/version"))["gitVersion"], version())

    async def test_admission_gives_a_pod_the_token_of_its_account(self) -> None:
        pod = await self.pod("web", "10.1.0.1")
        mounts = {mount["name"]: mount["mountPath"] for mount in pod["spec"]["containers"][0]["volumeMounts"]}
        [volume] = pod["spec"]["volumes"]
        self.assertEqual(mounts, {volume["name"]: "/var/run/secrets/kubernetes.io/serviceaccount"})
        self.assertIn("serviceAccountToken", volume["projected"]["sources"][0])

    async def test_a_token_of_a_pod_is_good_for_its_audience_alone(self) -> None:
        pod = await self.pod("web", "10.1.0.1")
        token = await self.token(self.namespace, "default", AUDIENCE, pod)
        good = await self.review(token, AUDIENCE)
        self.assertEqual((good["authenticated"], good["audiences"]), (True, [AUDIENCE]))
        self.assertEqual(good["user"]["username"], f"system:serviceaccount:{self.namespace}:default")
        self.assertEqual(good["user"]["extra"]["authentication.kubernetes.io/pod-uid"], [pod["metadata"]["uid"]])
        bad = await self.review(token, "somebody.else")
        self.assertNotIn("authenticated", bad)
        self.assertIn("invalid for the target audiences", bad["error"])

    async def test_a_ready_pod_becomes_an_endpoint_of_its_service(self) -> None:
        service = await self.service("web", {"app": "web"}, [80])
        self.assertTrue(service["spec"]["clusterIP"].startswith("10.96."))
        await self.pod("web", "10.1.0.1", {"app": "web"}, ports=[80])
        [endpoint] = await self.wait_until(lambda: self.endpoints("web"), what="an endpoint")
        self.assertEqual((endpoint["addresses"], endpoint["conditions"]["ready"]), (["10.1.0.1"], True))
        await self.run_pod("web", "10.1.0.1", ready=False)

        async def gone() -> bool:
            return [each["conditions"]["ready"] for each in await self.endpoints("web")] == [False]

        await self.wait_until(gone, what="an endpoint that is not ready")

    async def test_a_deployment_makes_pods_that_can_be_run(self) -> None:
        labels = {"app": "web"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": "app:1"}]}}
        spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
        await self.apply([{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}])

        async def pods() -> list[str]:
            found = await self.call("GET", f"/api/v1/namespaces/{self.namespace}/pods")
            return [pod["metadata"]["name"] for pod in found["items"]]

        async def both() -> bool:
            return len(await pods()) == 2

        await self.wait_until(both, what="two pods")
        for number, name in enumerate(await pods()):
            await self.run_pod(name, f"10.1.0.{number}")
        await self.kubectl("rollout", "status", "deployment/web", "--timeout=10s")

    async def test_an_account_without_rules_may_nothing(self) -> None:
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        await self.account("nobody")
        await self.account("reader", [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}])
        nobody, reader = [await self.token(self.namespace, name, ISSUER) for name in ("nobody", "reader")]
        self.assertEqual((await self.ask("GET", path, token=nobody))[0], 403)
        self.assertEqual((await self.ask("GET", path, token=reader))[0], 200)
        self.assertEqual((await self.ask("GET", "/api/v1/pods", token=reader))[0], 403)

    async def test_the_program_under_test_may_come_as_admin_or_as_an_account(self) -> None:
        path = f"/api/v1/namespaces/{self.namespace}"
        self.assertEqual((await self.api.get(path))["metadata"]["name"], self.namespace)
        with self.assertRaises(ApiForbidden):
            await (await self.api_as(self.namespace, "default")).get(path)

    async def test_a_restricted_namespace_refuses_a_pod_that_may_gain_privileges(self) -> None:
        strict = await self.new_namespace(**{"pod-security.kubernetes.io/enforce": "restricted"})
        try:
            await self.pod("web", "10.1.0.1", namespace=strict)
        except Refused as error:
            self.assertEqual(error.status, 403)
            self.assertIn("PodSecurity", str(error))
        else:
            self.fail("the pod was accepted")

    async def test_kubectl_says_what_went_wrong(self) -> None:
        try:
            await self.kubectl("get", "pod", "nobody")
        except KubectlFailed as error:
            self.assertIn('pods "nobody" not found', str(error))
        else:
            self.fail("kubectl found what is not there")


class TestOutage(KubeTestCase):
    async def test_the_api_server_comes_back_with_what_it_knew(self) -> None:
        await self.service("web", {"app": "web"}, [80])
        await self.pod("web", "10.1.0.1", {"app": "web"})
        self.stop_api()
        self.assertFalse(self.cluster.is_ready())
        await self.start_api()
        found = await self.call("GET", f"/api/v1/namespaces/{self.namespace}/pods/web")
        self.assertEqual(found["status"]["podIP"], "10.1.0.1")
        await self.pod("late", "10.1.0.2", {"app": "web"})

        async def addresses() -> bool:
            found = {address for each in await self.endpoints("web") for address in each["addresses"]}
            return found == {"10.1.0.1", "10.1.0.2"}

        await self.wait_until(addresses, what="the endpoint of a pod that came afterwards")
