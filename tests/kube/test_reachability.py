"""The API server calls what tests serve: webhooks and aggregated APIs, named by a Service as in any cluster."""

import json
import ssl
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from tests.kube.case import KubeTestCase
from tests.kube.credentials import Authority
from tests.kube.plain_api import Document, Refused

PORT = 8443
GROUP = "reach.example.org"


class Teller(BaseHTTPRequestHandler):
    """Answers a review by refusing it, a question for ``me`` by who asks, any other one by an empty list."""

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        words = f"asked at {self.connection.getsockname()[0]} about {review['request']['namespace']}"
        review["response"] = {"uid": review.pop("request")["uid"], "allowed": False, "status": {"message": words}}
        self.answer(review)

    def do_GET(self) -> None:
        if not self.path.endswith("/me"):
            return self.answer({"kind": "APIResourceList", "groupVersion": f"{GROUP}/v1", "resources": []})
        subject = dict(pair for pairs in self.connection.getpeercert()["subject"] for pair in pairs)
        groups = self.headers.get_all("X-Remote-Group")
        return self.answer({"by": subject["commonName"], "user": self.headers["X-Remote-User"], "groups": groups})

    def answer(self, document: Document) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(document).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing: stderr is trial's."""


class TestReachability(KubeTestCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.address = self.reachable_address()
        server = ThreadingHTTPServer((self.address, PORT), Teller)
        server.socket = self.tls().wrap_socket(server.socket, server_side=True)
        Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        await self.service("teller", {"app": "teller"}, [{"port": 443, "targetPort": PORT}])
        await self.pod("teller", self.address, {"app": "teller"})
        await self.wait_until(lambda: self.endpoints("teller"), what="an endpoint")
        self.where = {"name": "teller", "namespace": self.namespace}

    def tls(self) -> ssl.SSLContext:
        """Return a server's side of TLS that looks at a client's certificate, if one is shown."""
        folder = Path(self.mktemp())
        folder.mkdir()
        authority = Authority(folder, "teller-ca")
        self.ca = b64encode(authority.file.read_bytes()).decode()
        pair = authority.server("teller", f"teller.{self.namespace}.svc")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.cluster.front_ca_file))
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_cert_chain(pair.certificate, pair.key)
        return context

    async def test_a_webhook_is_asked_at_an_endpoint_of_its_service(self) -> None:
        rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}
        hook = {
            "name": "teller.example.org",
            "clientConfig": {"service": self.where, "caBundle": self.ca},
            "rules": [rule],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.namespace}},
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }
        configuration = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": self.namespace},
            "webhooks": [hook],
        }
        await self.apply([configuration])
        path = f"/api/v1/namespaces/{self.namespace}/configmaps"

        async def refusal() -> str:
            try:
                await self.call("POST", path, {"metadata": {"generateName": "asked-"}})
            except Refused as error:
                return str(error)
            return ""

        said = await self.wait_until(refusal, what="the webhook's answer")
        self.assertIn(f"asked at {self.address} about {self.namespace}", said)

    async def test_an_aggregated_api_is_told_who_asks(self) -> None:
        spec = {"group": GROUP, "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 100}
        registration = {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"v1.{GROUP}"},
            "spec": {**spec, "service": self.where, "caBundle": self.ca},
        }
        await self.apply([registration])

        async def answer() -> Document | None:
            status, found = await self.ask("GET", f"/apis/{GROUP}/v1/me")
            return found if status == 200 else None

        told = await self.wait_until(answer, what="the aggregated API's answer")
        self.assertEqual((told["user"], told["by"]), ("admin", "front-proxy"))
        self.assertIn("system:masters", told["groups"])
