"""``meshtx check`` against a real API server: one thing broken at a time, and exactly that is named."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime, timedelta

from meshtx import __version__
from meshtx.kube.checks.outcomes import Failed, Passed, Report, Skipped, Warned
from meshtx.kube.checks.resources import RESOURCES
from meshtx.kube.manifests.shapes import ISSUER_SECRET, TRUST_CONFIG_MAP
from meshtx.kube.serving_certificate import generate
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.issuer import make_issuer, make_root
from meshtx.pki.name import MeshScope
from tests.kube.check_case import INJECT, TAP_PATH, WEBHOOK_PATH, CheckCase
from tests.kube.test_install import line

ENFORCE = "pod-security.kubernetes.io/enforce"
RBAC = "/apis/rbac.authorization.k8s.io/v1"


class HealthyTests(CheckCase):
    async def test_a_healthy_mesh_passes(self) -> None:
        await self.healthy()
        report = await self.looked()
        others = {each.check.name: each.outcome for each in report.results if not isinstance(each.outcome, Passed)}
        self.assertEqual(others, {})
        self.assertTrue(report.passed)

    async def test_the_kinds_are_where_the_server_has_them(self) -> None:
        for kind, resource in RESOURCES.items():
            group = f"/apis/{resource.group}/v1" if resource.group else "/api/v1"
            every = (await self.object(group))["resources"]
            found = {(each["name"], each["namespaced"]) for each in every if each["kind"] == kind}
            self.assertIn((resource.name, resource.namespaced), found)


class ControlPlaneTests(CheckCase):
    async def setUp(self) -> None:
        await super().setUp()
        await self.healthy()

    async def test_what_is_missing_is_named_alone(self) -> None:
        """What hangs on it is skipped and not blamed too."""
        for path, said in (
            (f"{self.own}/secrets/{ISSUER_SECRET}", f"Secret {ISSUER_SECRET}"),
            (f"{self.own}/configmaps/{TRUST_CONFIG_MAP}", f"ConfigMap {TRUST_CONFIG_MAP}"),
            (f"/apis/policy/v1/namespaces/{self.mesh}/poddisruptionbudgets/meshtx-injector", None),
        ):
            await self.call("DELETE", path)
            failed = await self.only(Failed, "objects")
            self.assertEqual(failed.objects, (said or "PodDisruptionBudget meshtx-injector",))
            self.assertIn("meshtx install", failed.hint)
            await self.install()
            await self.serve_tap()

    async def test_a_namespace_that_is_not_there_is_all_that_is_said(self) -> None:
        self.mesh, mesh = "nowhere", self.mesh
        report = await self.looked()
        self.mesh = mesh
        self.assertEqual([each.check.name for each in report.results][-1], "namespace")
        failed = self.said(report, "namespace")
        self.assertEqual(
            failed,
            Failed(
                "there is no namespace nowhere",
                "run 'meshtx install | kubectl apply -f -', or name another one with --namespace",
            ),
        )

    async def test_its_namespace_must_let_net_admin_in(self) -> None:
        await self.call("PATCH", self.own, {"metadata": {"labels": {ENFORCE: "baseline"}}}, kind="merge")
        failed = self.said(await self.looked(), "namespace")
        assert isinstance(failed, Failed), failed
        self.assertEqual(failed.hint, f"kubectl label namespace {self.mesh} {ENFORCE}=privileged --overwrite")

    async def test_a_rule_that_is_missing_is_named_and_so_is_one_too_many(self) -> None:
        path = f"{RBAC}/clusterroles/meshtx-directory"
        rules = (await self.object(path))["rules"]
        await self.call("PATCH", path, {"rules": rules[1:]}, kind="merge")
        failed = await self.only(Failed, "roles")
        what = "ClusterRole meshtx-directory"
        self.assertEqual(failed.objects, (f"{what}: list pods", f"{what}: watch pods"))
        more = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}
        await self.call("PATCH", path, {"rules": [*rules, more]}, kind="merge")
        self.assertEqual((await self.only(Warned, "roles")).objects, (f"{what}: get secrets",))
        everything = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
        await self.call("PATCH", path, {"rules": [everything]}, kind="merge")
        self.assertEqual((await self.only(Warned, "roles")).objects, (f"{what}: * *.*",))

    async def test_a_binding_of_somebody_else_is_named(self) -> None:
        path = f"{RBAC}/clusterrolebindings/meshtx-injector"
        subject = {"kind": "ServiceAccount", "name": "default", "namespace": self.mesh}
        await self.call("PATCH", path, {"subjects": [subject]}, kind="merge")
        failed = await self.only(Failed, "roles")
        missing = f"does not bind ServiceAccount {self.mesh}/meshtx-injector to ClusterRole meshtx-injector"
        self.assertEqual(failed.objects, (f"ClusterRoleBinding meshtx-injector: {missing}",))

    async def test_an_account_whose_token_everybody_gets_is_named(self) -> None:
        path = f"{self.own}/serviceaccounts/meshtx-directory"
        await self.call("PATCH", path, {"automountServiceAccountToken": True}, kind="merge")
        self.assertEqual((await self.only(Failed, "accounts")).objects, ("ServiceAccount meshtx-directory",))

    async def test_a_deployment_that_is_not_ready_is_named_and_may_become_so(self) -> None:
        directory = next(
            each["metadata"]["name"]
            for each in (await self.object(f"{self.own}/pods"))["items"]
            if each["metadata"]["name"].startswith("meshtx-directory")
        )
        await self.run_pod(directory, "10.8.0.9", namespace=self.mesh, ready=False)

        async def heard() -> Report | None:
            report = await self.looked()
            return None if report.passed else report

        report = await self.wait_until(heard, what="an unready Deployment")
        failed = await self.only(Failed, "deployments", report)
        self.assertEqual(failed.objects, ("meshtx-directory: 0 of 1 pods are ready",))
        self.assertTrue(report.may_pass)
        await self.run_pod(directory, "10.8.0.9", namespace=self.mesh)
        await self.wait_until(self.is_available)
        self.assertTrue((await self.looked()).passed)

    async def test_another_version_is_a_warning(self) -> None:
        labels = {"metadata": {"labels": {"app.kubernetes.io/version": f"{__version__}.post1"}}}
        path = f"/apis/apps/v1/namespaces/{self.mesh}/deployments/meshtx-identity"
        await self.call("PATCH", path, labels, kind="merge")
        warned = await self.only(Warned, "control-plane-version")
        self.assertEqual(warned.problem, f"this is meshtx {__version__}")
        self.assertEqual(warned.objects, (f"meshtx-identity: {__version__}.post1",))

    async def test_the_api_of_tap_must_be_available(self) -> None:
        service = {"name": "nobody", "namespace": self.mesh, "port": 443}
        await self.call("PATCH", TAP_PATH, {"spec": {"service": service}}, kind="merge")

        async def gone() -> bool:
            return not await self.is_tap_available()

        await self.wait_until(gone, what="the server's word on the API")
        failed = await self.only(Failed, "tap")
        self.assertEqual((failed.may_pass, "nobody" in failed.problem), (True, True))
        await self.call("DELETE", TAP_PATH)
        self.assertIn("meshtx install", (await self.only(Failed, "tap")).hint)


class TrustTests(CheckCase):
    async def setUp(self) -> None:
        await super().setUp()
        await self.healthy()

    async def test_what_expires_is_told_early(self) -> None:
        """And an issuer that has expired is not said to be a stranger."""
        leaf = "webhook-certificate"
        for days, expected in (
            (4, {}),
            (59, {leaf: Failed}),
            (61, {leaf: Failed}),
            (70, {"issuer": Warned, leaf: Failed}),
            (84, {"issuer": Failed, leaf: Failed}),
            (91, {"issuer": Failed, leaf: Failed}),
        ):
            report = await self.looked(later=timedelta(days=days))
            found = {each.check.name: type(each.outcome) for each in (*report.of(Failed), *report.of(Warned))}
            self.assertIs(found.pop("clock"), Failed)
            self.assertEqual(found, expected, days)

    async def test_anchors_that_end_are_named(self) -> None:
        report = await self.looked(later=timedelta(days=3600))
        failed = self.said(report, "anchors")
        assert isinstance(failed, Failed), failed
        self.assertEqual(failed.problem, "no anchor is valid for 60 more days")
        expired = await self.looked(later=timedelta(days=3700))
        self.assertEqual(self.said(expired, "issuer-verifies"), Skipped("the trust anchors have expired"))

    async def test_one_of_two_anchors_that_ends_is_a_warning(self) -> None:
        _, old = make_root(MeshScope(self.mesh), datetime.now(UTC) - timedelta(days=3640))
        await self.set_anchors(TrustBundle.of([*self.trust.anchors, old]))
        warned = self.said(await self.looked(), "anchors")
        assert isinstance(warned, Warned), warned
        self.assertEqual(len(warned.objects), 1)

    async def test_anchors_that_cannot_be_read_are_named_alone(self) -> None:
        path = f"{self.own}/configmaps/{TRUST_CONFIG_MAP}"
        await self.call("PATCH", path, {"data": {"ca-bundle.crt": "nonsense"}}, kind="merge")
        failed = await self.only(Failed, "anchors")
        self.assertEqual(failed.problem, f"ConfigMap {TRUST_CONFIG_MAP}: holds no PEM block (-----BEGIN ...-----)")

    async def test_an_issuer_below_another_anchor_is_named(self) -> None:
        key, root = make_root(MeshScope(self.mesh), datetime.now(UTC))
        issuer = make_issuer(key, root, MeshScope(self.mesh), datetime.now(UTC))
        pem = TrustBundle.of([issuer.certificate]).to_pem()
        data = {"data": {"tls.crt": b64encode(pem).decode()}}
        await self.call("PATCH", f"{self.own}/secrets/{ISSUER_SECRET}", data, kind="merge")
        failed = await self.only(Failed, "issuer-verifies")
        self.assertIn("does not verify against the trust anchors", failed.problem)

    async def test_pods_with_other_anchors_are_named(self) -> None:
        await self.meshed_pod("old", "10.9.0.2", digest="another")
        warned = await self.only(Warned, "pods-anchors")
        self.assertEqual(warned.objects, (f"{self.namespace}/old",))

    async def set_anchors(self, trust: TrustBundle) -> None:
        data = {"data": {"ca-bundle.crt": trust.to_pem().decode()}}
        await self.call("PATCH", f"{self.own}/configmaps/{TRUST_CONFIG_MAP}", data, kind="merge")


class WebhookTests(CheckCase):
    async def setUp(self) -> None:
        await super().setUp()
        await self.healthy()

    async def test_without_it_no_pod_is_meshed(self) -> None:
        await self.call("DELETE", WEBHOOK_PATH)
        failed = await self.only(Failed, "webhook")
        self.assertEqual(failed.problem, "no pod gets a sidecar: there is no webhook")

    async def test_another_selector_is_named(self) -> None:
        await self.put_in_webhook(0, "namespaceSelector", {})
        failed = await self.only(Failed, "webhook")
        self.assertEqual(failed.objects, ("namespaces.injector.meshtx.io: namespaceSelector differs",))

    async def test_it_must_fail_closed(self) -> None:
        await self.put_in_webhook(1, "failurePolicy", "Ignore")
        self.assertEqual((await self.only(Failed, "webhook-closed")).objects, ("pods.injector.meshtx.io",))

    async def test_another_authority_is_not_believed(self) -> None:
        other = generate("meshtx-injector.other.svc", datetime.now(UTC)).authority
        pem = TrustBundle.of([other]).to_pem()
        await self.put_in_webhook(2, "clientConfig/caBundle", b64encode(pem).decode())
        failed = await self.only(Failed, "webhook-believed")
        self.assertEqual(failed.problem, "not every entry believes the injector")
        self.assertEqual(failed.objects, ("workloads.injector.meshtx.io",))

    async def test_no_authority_is_not_believed_and_may_still_come(self) -> None:
        await self.put_in_webhook(0, "clientConfig/caBundle", "")
        failed = await self.only(Failed, "webhook-believed")
        self.assertEqual((failed.may_pass, failed.objects), (True, ("namespaces.injector.meshtx.io",)))

    async def test_a_certificate_that_is_not_renewed_is_named(self) -> None:
        await self.certify_injector(timedelta(days=1, hours=1))
        failed = await self.only(Failed, "webhook-certificate")
        self.assertTrue(failed.problem.startswith("the injector's certificate expires in 1 day, on "), failed)

    async def test_a_service_that_leads_nowhere_is_named(self) -> None:
        path = f"{self.own}/services/meshtx-injector"
        await self.call("PATCH", path, {"spec": {"selector": {"app.kubernetes.io/name": "nobody"}}}, kind="merge")

        async def nowhere() -> bool:
            return not await self.endpoints("meshtx-injector", self.mesh)

        await self.wait_until(nowhere, 30, "no endpoint")
        failed = await self.only(Failed, "webhook-endpoints")
        self.assertEqual(failed.problem, "Service meshtx-injector leads to no pod")


class DataPlaneTests(CheckCase):
    async def setUp(self) -> None:
        await super().setUp()
        await self.healthy()

    async def test_pods_without_a_proxy_are_named(self) -> None:
        for number in (1, 2):
            await self.bare_pod(f"bare-{number}", f"10.9.1.{number}")
        failed = await self.only(Failed, "pods-injected")
        self.assertEqual(failed.objects, (f"{self.namespace}/bare-1", f"{self.namespace}/bare-2"))

    async def test_a_pod_on_its_nodes_network_is_a_warning(self) -> None:
        await self.bare_pod("host", "198.51.100.1", hostNetwork=True)
        warned = await self.only(Warned, "pods-possible")
        self.assertEqual(warned.objects, (f"{self.namespace}/host: hostNetwork: it shares the network of its node",))

    async def test_a_pod_that_was_left_out_on_purpose_is_none(self) -> None:
        await self.label_namespace(**{INJECT: None})
        await self.pod("out", "10.9.1.1", {INJECT: "disabled"})
        await self.label_namespace(**{INJECT: "enabled"})
        self.assertTrue((await self.looked()).passed)

    async def test_a_proxy_that_is_not_ready_is_named(self) -> None:
        status = {"initContainerStatuses": [_status("meshtx-init", ready=True), _status("meshtx-proxy", ready=False)]}
        path = f"/api/v1/namespaces/{self.namespace}/pods/web/status"
        await self.call("PATCH", path, {"status": status}, kind="merge")
        failed = await self.only(Failed, "proxies-ready")
        self.assertEqual((failed.objects, failed.may_pass), ((f"{self.namespace}/web",), True))

    async def test_a_proxy_of_another_version_is_a_warning(self) -> None:
        await self.meshed_pod("old", "10.9.0.2", version=f"{__version__}.dev1")
        objects = (f"{self.namespace}/old: {__version__}.dev1",)
        self.assertEqual((await self.only(Warned, "proxies-version")).objects, objects)

    async def test_a_namespace_that_refuses_the_init_container_is_named(self) -> None:
        await self.label_namespace(**{ENFORCE: "restricted"})
        failed = await self.only(Failed, "pod-security")
        self.assertEqual(failed.objects, (f"{self.namespace}: restricted",))
        self.assertEqual(failed.hint, f"kubectl label namespace NAME {ENFORCE}=privileged --overwrite")

    async def test_words_that_nobody_understands_are_a_warning(self) -> None:
        await self.meshed_pod("typo", "10.9.0.2", annotations={"config.meshtx.io/skip-inbound-port": "25"})
        await self.label_namespace(**{"example.org/other": "x"})
        warned = await self.only(Warned, "annotations")
        self.assertEqual(len(warned.objects), 1)
        self.assertIn("config.meshtx.io/skip-inbound-port: unknown annotation", warned.objects[0])
        self.assertIn("config.meshtx.io/skip-inbound-ports", warned.objects[0])

    async def test_a_service_that_hides_its_clients_is_a_warning_with_the_fix(self) -> None:
        await self.service("public", {"app": "web"}, [80], type="LoadBalancer")
        await self.service("of-nobody", {"app": "other"}, [80], type="NodePort")
        warned = await self.only(Warned, "clients-seen")
        self.assertEqual(warned.objects, (f"{self.namespace}/public: LoadBalancer",))
        self.assertIn("externalTrafficPolicy: Local", warned.hint)
        self.assertIn("config.meshtx.io/proxy-protocol-from", warned.hint)
        policy = {"spec": {"externalTrafficPolicy": "Local"}}
        await self.call("PATCH", f"/api/v1/namespaces/{self.namespace}/services/public", policy, kind="merge")
        report = await self.looked()
        self.assertEqual(self.said(report, "clients-seen"), Passed())


class RightsTests(CheckCase):
    async def test_who_may_read_little_is_told_which_right_is_missing(self) -> None:
        await self.healthy()
        await self.account("nobody")
        report = await self.looked(await self.api_as(self.namespace, "nobody"))
        self.assertEqual((report.of(Failed), report.of(Warned)), ([], []))
        self.assertEqual(
            self.said(report, "pods-injected"),
            Skipped("the user may not list namespaces"),
        )
        self.assertEqual(
            self.said(report, "issuer"),
            Skipped(f"the user may not get secrets '{ISSUER_SECRET}' in namespace {self.mesh}"),
        )

    async def test_nothing_but_secrets_is_missing_for_who_may_read_the_rest(self) -> None:
        await self.healthy()
        readable = {each.name: each.group for each in RESOURCES.values() if each.name != "secrets"}
        rules = [
            {"apiGroups": [group], "resources": [name], "verbs": ["get", "list"]} for name, group in readable.items()
        ]
        await self.account("reader", rules, cluster=True)
        report = await self.looked(await self.api_as(self.namespace, "reader"))
        skipped = {each.check.name for each in report.of(Skipped)}
        expected = {"objects", "issuer", "issuer-verifies"}
        self.assertEqual((skipped, report.passed), (expected, True))

    async def test_an_administrator_can_install_and_somebody_else_is_told_what_is_missing(self) -> None:
        self.assertEqual(len((await self.looked(before=True)).of(Passed)), 7)
        create = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "create", "patch"]}
        await self.account("maker", [create], cluster=True)
        maker = await self.looked(await self.api_as(self.namespace, "maker"), before=True)
        failed = await self.only(Failed, "may-grant", maker)
        self.assertEqual(failed.objects[:2], ("list pods", "watch pods"))
        await self.account("nobody")
        nobody = await self.looked(await self.api_as(self.namespace, "nobody"), before=True)
        lacking = self.said(nobody, "may-apply")
        assert isinstance(lacking, Failed), lacking
        self.assertIn("create clusterroles.rbac.authorization.k8s.io", lacking.objects)
        self.assertIn(f"create secrets in namespace {self.mesh}", lacking.objects)

    async def test_what_it_asks_for_is_enough_to_install(self) -> None:
        """Kubernetes itself says so: a user with exactly these rights applies everything."""
        await self.account("installer", self.rules_for_installing(), cluster=True)
        report = await self.looked(await self.api_as(self.namespace, "installer"), before=True)
        self.assertTrue(report.passed, report.of(Failed))
        user = f"system:serviceaccount:{self.namespace}:installer"
        self.addCleanup(self.uninstall)
        await self.kubectl("apply", "--as", user, "-f", "-", input=self.manifests())

    def rules_for_installing(self) -> list[dict[str, object]]:
        every = [*RESOURCES.values()]
        applied = [
            {"apiGroups": [each.group], "resources": [each.name], "verbs": ["get", "create", "patch"]} for each in every
        ]
        free = ["escalate", "bind"]
        return [
            *applied,
            {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "clusterroles"], "verbs": free},
        ]

    async def test_what_is_installed_already_is_named(self) -> None:
        await self.install()
        failed = await self.only(Failed, "not-installed", await self.looked(before=True))
        self.assertIn("Deployment meshtx-identity", failed.objects)
        self.assertIn("meshtx uninstall", failed.hint)
        self.assertIn("Deployment", line("uninstall"))

    async def test_a_namespace_with_pod_security_is_a_warning_before(self) -> None:
        labels = {ENFORCE: "restricted"}
        await self.new_namespace(self.mesh, **labels)
        await self.only(Warned, "namespace-pod-security", await self.looked(before=True))

    async def test_a_user_that_nobody_knows_is_told_so(self) -> None:
        api = self._kube_api(token="nonsense")
        report = await self.looked(api)
        failed = await self.only(Failed, "api-reached", report)
        self.assertFalse(failed.may_pass)
        self.assertIn("kubectl auth whoami", failed.hint)


def _status(name: str, *, ready: bool) -> dict[str, object]:
    return {"name": name, "ready": ready, "restartCount": 0, "image": "", "imageID": ""}
