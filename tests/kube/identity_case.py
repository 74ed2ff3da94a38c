"""The identity service against a real API server: its account, its mounted files, and who asks it for certificates."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
from cryptography import x509
from joserfc import jwt
from joserfc.jwk import ECKey
from twisted.internet import reactor
from twisted.internet.tcp import Client as TcpClient
from twisted.internet.threads import deferToThread
from twisted.web.client import Agent, readBody

from meshtx.config import IdentityConfig
from meshtx.config_load import load
from meshtx.identity import ca_folder
from meshtx.pki.csr import make_csr
from meshtx.pki.keys import new_key
from meshtx.pki.name import MeshScope
from meshtx.rpc.messages.identity_pb2 import CertifyRequest
from meshtx.rpc.methods import CERTIFY
from meshtx.services.identity import IdentityService, make
from tests.kube.case import KubeTestCase
from tests.kube.plain_api import Document
from tests.rpc.support import unary

ACCOUNT = "meshtx-identity"
API_AUDIENCE = "https://kubernetes.default.svc.cluster.local"
"""Of the tokens that the API server takes for itself."""

REVIEWS = {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}
EVENTS = {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]}

Answer = tuple[str, str]
"""The name of a gRPC status, and what is said with it."""


class KubeIdentityCase(KubeTestCase):
    """The test's namespace is the control plane's, and that of the workloads too."""

    async def setUp(self) -> None:
        await super().setUp()
        self.scope = MeshScope(control_namespace=self.namespace)
        self.mesh = self.place()
        ca_folder.init(self.mesh, self.scope, datetime.now(UTC))
        self.addCleanup(self.settle)

    def place(self) -> Path:
        """Return a path where nothing is yet."""
        return Path(self.mktemp()).absolute()

    async def settle(self) -> None:
        """Wait until what was closed is closed on both sides."""
        await self.wait_until(
            lambda: not any(isinstance(each, TcpClient) for each in reactor.getReaders()), what="connections closed"
        )

    async def mounted(self) -> Path:
        """Return the folder that the kubelet would mount for the service, whose account is made."""
        folder = self.place()
        folder.mkdir()
        token = await self.token(self.namespace, ACCOUNT, API_AUDIENCE)
        (folder / "token").write_text(token)
        (folder / "ca.crt").write_bytes(self.cluster.ca_file.read_bytes())
        return folder

    def environ(self) -> dict[str, str]:
        """Return the variables that the kubelet would set."""
        address = urlsplit(self.cluster.url)
        return {"KUBERNETES_SERVICE_HOST": str(address.hostname), "KUBERNETES_SERVICE_PORT": str(address.port)}

    def flags(self, folder: Path, **changed: str) -> dict[str, str]:
        return {
            "control_namespace": self.namespace,
            "issuer": str(self.mesh / ca_folder.ISSUER),
            "listen": "127.0.0.1:0",
            "admin_listen": "127.0.0.1:0",
            "validator": "kubernetes",
            "kubernetes_folder": str(folder),
        } | changed

    async def start(self, **changed: str) -> IdentityService:
        """Start the service, whose account is made, in this process; a change to "" leaves a flag out."""
        self.patch(os, "environ", {**os.environ, **self.environ()})
        flags = self.flags(await self.mounted(), **changed)
        service = make(reactor, load(IdentityConfig, {key: text for key, text in flags.items() if text}, {}, None))
        service.privilegedStartService()
        service.startService()
        self.addCleanup(service.stopService)
        self.port, self.admin = (port.getHost().port for port in service.listeners.ports)
        return service

    async def ready(self, **changed: str) -> IdentityService:
        """Start the service, with all that it needs, and wait until it is ready."""
        await self.account(ACCOUNT, [REVIEWS], cluster=True)
        service = await self.start(**changed)
        await self.wait_until(lambda: service.ready_reason() is None, what="ready")
        return service

    async def looked(self) -> tuple[int, str]:
        """Return what the admin port says of readiness."""
        response = await Agent(reactor).request(b"GET", f"http://127.0.0.1:{self.admin}/ready".encode())
        return response.code, (await readBody(response)).decode()

    async def certify(self, token: str | bytes, account: str = "web", port: int | None = None) -> Answer:
        """Ask for the certificate of an account of the test's namespace; a good one's name is in the answer."""
        name = self.scope.name(self.namespace, account)
        request = CertifyRequest(
            identity=str(name),
            token=token if isinstance(token, bytes) else token.encode(),
            certificate_signing_request=make_csr(new_key(), name),
        )
        return await deferToThread(self._call, request, port or self.port)

    def _call(self, request: CertifyRequest, port: int) -> Answer:
        anchors = (self.mesh / ca_folder.BUNDLE).read_bytes()
        own = self.scope.name(self.namespace, ACCOUNT)
        options = (("grpc.ssl_target_name_override", str(own)), ("grpc.use_local_subchannel_pool", 1))
        with grpc.secure_channel(f"127.0.0.1:{port}", grpc.ssl_channel_credentials(anchors), options) as channel:
            call = unary(channel, CERTIFY).future(request, timeout=30)
            if call.exception() is not None:
                return call.code().name, call.details()
            leaf = x509.load_der_x509_certificate(call.result().leaf_certificate)
            (name,) = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            return call.code().name, name.value

    def issued(self, account: str = "web") -> Answer:
        """Return the answer with a certificate for an account."""
        return "OK", str(self.scope.name(self.namespace, account))

    async def pod_token(self, pod: str = "web-1", audience: str = "identity.l5d.io", **options: Any) -> str:
        """Return the token that the kubelet projects into a pod of the account `web`, which is made with it."""
        await self.account("web")
        made = await self.pod(pod, "10.1.0.7", account="web")
        return await self.token(self.namespace, "web", audience, made, **options)

    def resigned(self, token: str, **claims: Any) -> str:
        """Return a token like this one, but for some claims, signed with the key of the cluster."""
        key = ECKey.import_key((self.cluster.folder / "service-account.key").read_bytes())
        head = part(token, 0)
        return jwt.encode(head, {**part(token, 1), **claims}, key, algorithms=[head["alg"]], default_type=None)

    async def bind(self, account: str, rules: list[Document]) -> None:
        """Give an account these rules in the test's namespace."""
        group = "rbac.authorization.k8s.io"
        common = {"apiVersion": f"{group}/v1", "metadata": {"name": f"{account}-more", "namespace": self.namespace}}
        binding = {
            "kind": "RoleBinding",
            "roleRef": {"apiGroup": group, "kind": "Role", "name": f"{account}-more"},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": self.namespace}],
        }
        await self.apply([{**common, "kind": "Role", "rules": rules}, {**common, **binding}])


def part(token: str, number: int) -> dict[str, Any]:
    """Return a part of a token: 0 is its head, 1 what it says."""
    text = token.split(".")[number]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return found


def times(begins: float, ends: float) -> Mapping[str, int]:
    """Return the claims of a token that is good between these seconds from now."""
    now = int(time.time())
    return {"iat": int(now + begins), "nbf": int(now + begins), "exp": int(now + ends)}
