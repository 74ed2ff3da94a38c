"""A healthy installation for ``meshtx check``: its objects, and what kubelets and programs would say of themselves."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from meshtx import __version__
from meshtx.identity import ca_folder
from meshtx.kube.api import KubeApi
from meshtx.kube.checks.outcomes import Failed, Outcome, Report, Result, Skipped, Warned
from meshtx.kube.checks.reading import Reader
from meshtx.kube.checks.whole import look
from meshtx.kube.injection import Injected, inject
from meshtx.kube.manifests.values import Program
from meshtx.kube.serving_certificate import LIFETIME, generate, to_pem
from meshtx.kube.sidecar import Values
from meshtx.kube.tap_names import API_SERVICE
from meshtx.kube.webhook import NAME as WEBHOOK
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.name import MeshScope
from tests.kube.case import NODE
from tests.kube.plain_api import Document
from tests.kube.test_install import InstallCase

WEBHOOK_PATH = f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{WEBHOOK}"
TAP_PATH = f"/apis/apiregistration.k8s.io/v1/apiservices/{API_SERVICE}"
INJECT = "meshtx.io/inject"


class CheckCase(InstallCase):
    """The control plane's namespace is `self.mesh`; `self.namespace` is one whose pods are meshed."""

    timeout = 150

    async def healthy(self) -> None:
        """Install, and play the parts of kubelets and programs."""
        self.folder = Path(self.mktemp())
        made = ca_folder.init(self.folder, MeshScope(self.mesh), datetime.now(UTC))
        self.given = (f"--namespace={self.mesh}", f"--ca-folder={made.folder}")
        self.trust = TrustBundle.from_pem((self.folder / "ca-bundle.crt").read_bytes())
        await self.install()
        await self.run_control_plane()
        await self.certify_injector()
        await self.serve_tap()
        await self.meshed_pod("web", "10.9.0.1")
        await self.label_namespace(**{INJECT: "enabled"})

    async def run_control_plane(self) -> None:
        """Say of each pod that it runs, and wait until their Deployments have heard of it."""

        async def pods() -> list[str]:
            found = [each["metadata"]["name"] for each in (await self.object(f"{self.own}/pods"))["items"]]
            return found if len(found) == len(Program) else []

        for number, name in enumerate(await self.wait_until(pods, 30, "a pod of each program"), 1):
            await self.run_pod(name, f"10.8.0.{number}", namespace=self.mesh)
        await self.wait_until(self.is_available, 30, "available Deployments")
        await self.wait_until(lambda: self.endpoints(WEBHOOK, self.mesh), 30, "the injector's endpoint")

    async def is_available(self) -> bool:
        found = (await self.object(f"/apis/apps/v1/namespaces/{self.mesh}/deployments"))["items"]
        return len(found) == len(Program) and all(each["status"].get("availableReplicas") for each in found)

    async def certify_injector(self, lifetime: timedelta = LIFETIME) -> None:
        """Write what the injector writes when it starts."""
        made = generate(f"{WEBHOOK}.{self.mesh}.svc", datetime.now(UTC), lifetime)
        bundle = b64encode(to_pem([made.authority]).encode()).decode()
        for number in range(3):
            await self.put_in_webhook(number, "clientConfig/caBundle", bundle)

    async def serve_tap(self) -> None:
        """Let the API server take the API of tap for its own, which is always available: no directory runs."""
        spec = {"service": None, "caBundle": None, "insecureSkipTLSVerify": None}
        await self.call("PATCH", TAP_PATH, {"spec": spec}, kind="merge")
        await self.wait_until(self.is_tap_available, what="the API of tap")

    async def is_tap_available(self) -> bool:
        status = (await self.object(TAP_PATH)).get("status") or {}
        return any(each["status"] == "True" for each in status.get("conditions") or ())

    async def put_in_webhook(self, number: int, field: str, value: object) -> None:
        """Set a field of an entry."""
        change = [{"op": "add", "path": f"/webhooks/{number}/{field}", "value": value}]
        await self.call("PATCH", WEBHOOK_PATH, change, kind="json-patch")

    async def label_namespace(self, **labels: str | None) -> None:
        change = {"metadata": {"labels": labels}}
        await self.call("PATCH", f"/api/v1/namespaces/{self.namespace}", change, kind="merge")

    async def opt_out(self) -> None:
        """Have the injector not asked about the next pods, which the API server takes up by a watch."""
        await self.label_namespace(**{INJECT: None})
        tried = {"metadata": {"name": "tried"}, "spec": {"containers": [{"name": "app", "image": "example.org/app:1"}]}}

        async def unasked() -> bool:
            path = f"/api/v1/namespaces/{self.namespace}/pods"
            return (await self.ask("POST", path, tried, query={"dryRun": "All"}))[0] == 201

        await self.wait_until(unasked, 30, "a namespace that has opted out")

    async def meshed_pod(self, name: str, ip: str, **changes: Any) -> Document:
        """Make a pod as the injector returns it, which is not asked: nobody runs it."""
        values = Values(
            image="example.org/meshtx:1",
            version=changes.pop("version", __version__),
            trust_anchors=self.trust.to_pem().decode(),
            trust_digest=changes.pop("digest", self.trust.digest),
            identity_address="identity:8080",
            directory_address="directory:8086",
            scope=MeshScope(self.mesh),
        )
        container = {"name": "app", "image": "example.org/app:1"}
        metadata = {"name": name, "labels": {"app": name}, **changes}
        outcome = inject({"metadata": metadata, "spec": {"containers": [container]}}, self.namespace, {}, values)
        assert isinstance(outcome, Injected), outcome
        return await self.create(outcome.pod, ip)

    async def bare_pod(self, name: str, ip: str, **spec: Any) -> Document:
        """Make a pod that the injector has not seen: its namespace asks for the mesh only afterwards."""
        await self.opt_out()
        made = await self.pod(name, ip, {"app": name}, **spec)
        await self.label_namespace(**{INJECT: "enabled"})
        return made

    async def create(self, pod: Document, ip: str) -> Document:
        await self.node(NODE)
        pod["spec"]["nodeName"] = NODE
        await self.opt_out()
        await self.call("POST", f"/api/v1/namespaces/{self.namespace}/pods", pod)
        await self.label_namespace(**{INJECT: "enabled"})
        return await self.run_pod(pod["metadata"]["name"], ip)

    async def looked(
        self, api: KubeApi | None = None, *, before: bool = False, later: timedelta = timedelta()
    ) -> Report:
        """Look.

        :param later: how much later it is than it is.
        """
        reader = Reader(api or self.api, self.cluster.url, self.mesh, lambda: datetime.now(UTC) + later)
        return await look(reader, before=before)

    async def only(self, kind: type[Outcome], name: str, report: Report | None = None) -> Any:  # Any: of that kind
        """Return what came of the only check that did not pass."""
        report = report or await self.looked()
        others = {
            each.check.name: each.outcome
            for each in report.results
            if isinstance(each.outcome, Failed | Warned) or (isinstance(each.outcome, Skipped) and kind is Skipped)
        }
        self.assertEqual(list(others), [name], others)
        self.assertIsInstance(others[name], kind)
        return others[name]

    def said(self, report: Report, name: str) -> Outcome:
        """Return what came of one check."""
        found: list[Result] = [each for each in report.results if each.check.name == name]
        self.assertEqual(len(found), 1)
        return found[0].outcome
