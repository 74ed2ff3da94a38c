"""An injector in this process that a real API server calls, by the manifests that are installed."""

from __future__ import annotations

import ssl
from base64 import b64decode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from meshtx.config_load import load
from meshtx.kube.manifests.values import Values
from meshtx.kube.manifests.whole import documents
from meshtx.kube.serving_certificate import authorities_in
from meshtx.kube.serving_rotation import SETTLE
from meshtx.kube.settings.injector import InjectorConfig
from meshtx.kube.webhook import NAME
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.issuer import make_root
from meshtx.pki.name import MeshScope
from meshtx.services.injector import InjectorProgram
from tests.kube.case import KubeTestCase
from tests.kube.plain_api import Document

PORT = 8443
INJECT = "meshtx.io/inject"
WEBHOOK = f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{NAME}"

_KINDS = {
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "ClusterRole",
    "ClusterRoleBinding",
    "Service",
    "MutatingWebhookConfiguration",
}


def manifests(namespace: str, *, adopt_linkerd: bool = False) -> list[Document]:
    """Return what an injector needs of an installation."""
    every = documents(Values(namespace=namespace, adopt_linkerd=adopt_linkerd))
    return [each for each in every if each["kind"] in _KINDS and each["metadata"]["name"].startswith(NAME)]


class InjectorCase(KubeTestCase):
    """The control plane's namespace is the test's; `self.apps` is one whose pods are meshed."""

    adopt_linkerd = False
    """Linkerd's annotations are ours."""

    async def setUp(self) -> None:
        await super().setUp()
        self.anchors = Path(self.mktemp())
        self.trust = self.new_anchors()
        await self.apply(manifests(self.namespace, adopt_linkerd=self.adopt_linkerd))
        self.address = await self.place("injector")
        self.apps = await self.new_namespace(**{INJECT: "enabled"})
        self.program = await self.start()

    async def place(self, name: str, *, ready: bool = True) -> str:
        """Return the address of a new pod behind the webhook's Service, where an injector may listen."""
        address = self.reachable_address()
        ports = [{"name": "https", "containerPort": PORT}]
        await self.pod(name, address, {"app.kubernetes.io/name": NAME}, ports=ports, ready=ready)
        return address

    def new_anchors(self) -> TrustBundle:
        """Return other anchors of the mesh, which the injector finds from now on."""
        _, root = make_root(MeshScope(), datetime.now(UTC))
        trust = TrustBundle.of([root])
        self.anchors.write_bytes(trust.to_pem())
        return trust

    async def start(self, shutdown_delay: str = "0.01s", address: str = "", *, wait: bool = True) -> InjectorProgram:
        """Return an injector that is ready, and whom the API server has asked.

        :param address: of its pod, if it is not the first; then it is asked when the other one's connections end.
        :param wait: until it is ready.
        """
        first = not address
        address = address or self.address
        settings = {
            "listen": f"{address}:{PORT}",
            "admin_listen": f"{address}:0",
            "control_namespace": self.namespace,
            "trust_anchors_file": str(self.anchors),
            "kubernetes_folder": str(self.anchors.parent),
            "image": "example.org/meshtx:1",
            "shutdown_delay": shutdown_delay,
            "adopt_linkerd_annotations": str(self.adopt_linkerd).lower(),
        }
        api = await self.api_as(self.namespace, NAME)
        program = InjectorProgram(reactor, load(InjectorConfig, settings, {}), api)
        program.privilegedStartService()
        program.startService()
        self.addCleanup(self.stop, program)
        if wait:
            await self.wait_until(lambda: program.ready_reason() is None, SETTLE + 10.0, "a ready injector")
        if wait and first:
            await self.wait_until(lambda: self.is_asked(program), what="the API server's first question")
        return program

    async def stop(self, program: InjectorProgram) -> None:
        """Stop an injector, unless a test has done so."""
        if program.running:
            await program.stopService()

    async def is_asked(self, program: InjectorProgram) -> bool:
        """Ask for a pod that will not be, and say whether the injector was asked about it."""
        before = self.count(program, "injected")
        status, _ = await self.create(self.a_pod("probe"), dry_run=True)
        return status == 201 and self.count(program, "injected") > before

    async def believed(self) -> list[x509.Certificate]:
        """Return the authorities that the API server believes, which are the same in every entry."""
        configuration = await self.call("GET", WEBHOOK)
        bundles = {each["clientConfig"].get("caBundle", "") for each in configuration["webhooks"]}
        read = [authorities_in(b64decode(each).decode()) for each in bundles]
        return [each for each in read[0] if all(each in other for other in read)]

    async def served(self, address: str = "") -> x509.Certificate:
        """Return the certificate that a new connection sees."""
        where = (address or self.address, PORT)
        return x509.load_pem_x509_certificate((await deferToThread(ssl.get_server_certificate, where)).encode())

    def count(self, program: InjectorProgram, result: str) -> float:
        """Return how many questions had this result."""
        found = program.metrics.registry.get_sample_value("meshtx_injector_reviews_total", {"result": result})
        return found or 0.0

    def a_pod(self, name: str = "web", **spec: Any) -> Document:
        """Return a pod that somebody may have written."""
        container = {"name": "app", "image": "example.org/app:1"}
        return {"metadata": {"name": name}, "spec": {"containers": [container], **spec}}

    async def create(
        self, pod: Document, namespace: str | None = None, *, dry_run: bool = False
    ) -> tuple[int, Document]:
        """Return the API server's answer to a pod."""
        query = {"dryRun": "All"} if dry_run else {}
        return await self.ask("POST", f"/api/v1/namespaces/{namespace or self.apps}/pods", pod, query=query)

    async def created(self, pod: Document, namespace: str | None = None) -> Document:
        """Return a pod as it is stored."""
        status, answer = await self.create(pod, namespace)
        self.assertEqual(status, 201, answer)
        return answer

    async def refusal(self, pod: Document, namespace: str | None = None) -> str:
        """Return why a pod is refused."""
        status, answer = await self.create(pod, namespace)
        self.assertGreaterEqual(status, 400, answer)
        message: str = answer["message"]
        return message
