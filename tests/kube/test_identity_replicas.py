"""Identity as the cluster runs it: processes behind one address, a mounted Secret that changes, its keys elsewhere."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.task import deferLater
from twisted.protocols.portforward import ProxyFactory, ProxyServer

from meshtx.files import read_file, write_folder
from meshtx.identity import ca_folder
from meshtx.identity.certify_client import CertifyClient
from meshtx.identity.keeper_service import KeeperService
from tests.kube.identity_case import ACCOUNT, REVIEWS, KubeIdentityCase
from tests.services.test_identity_process import LISTENING, ROOT, TWISTD, Twistd

SECRET = ("tls.crt", "tls.key", "ca.crt")


class AsAService(ProxyFactory):
    """One address for several replicas, taken in turn for each connection, as kube-proxy would."""

    noisy = False

    def __init__(self, ports: list[int]) -> None:
        super().__init__("127.0.0.1", 0)
        self.ports = cycle(ports)

    def buildProtocol(self, addr: IAddress | None) -> ProxyServer:
        self.port = next(self.ports)
        return super().buildProtocol(addr)


class ReplicasCase(KubeIdentityCase):
    async def running(self, **changed: str) -> Twistd:
        """Start a ``twistd meshidentity`` as its pod does and wait until it is ready."""
        flags = {**self.flags(await self.mounted()), **changed}
        prefixed = {f"MESHTX_IDENTITY_{key.upper()}": value for key, value in flags.items()}
        process = Twistd()
        environment = {**os.environ, **self.environ(), **prefixed, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
        command = [*TWISTD, "-n", "--pidfile=", "meshidentity"]
        folder = self.place()
        folder.mkdir()
        transport = reactor.spawnProcess(process, sys.executable, command, environment, str(folder))
        self.addCleanup(self.kill, process, transport)
        await process.ready
        await self.wait_until(lambda: "the cluster allows what this program needs" in process.out, 30, "its check")
        return process

    def kill(self, process: Twistd, transport: Any) -> Deferred[int] | None:
        if process.ended.called:
            return None
        transport.signalProcess("KILL")
        return process.ended

    def port_of(self, process: Twistd) -> int:
        match = LISTENING.search(process.out)
        assert match, process.out
        return int(match[1])


class Replicas(ReplicasCase):
    async def test_a_proxy_does_not_notice_which_one_it_reaches(self) -> None:
        await self.account(ACCOUNT, [REVIEWS], cluster=True)
        replicas = [await self.running() for _ in range(2)]
        service = reactor.listenTCP(0, AsAService([self.port_of(each) for each in replicas]), interface="127.0.0.1")
        self.addCleanup(service.stopListening)
        token = self.place()
        token.write_text(await self.pod_token())
        web, own = (self.scope.name(self.namespace, account) for account in ("web", ACCOUNT))
        client = CertifyClient(reactor, "127.0.0.1", service.getHost().port, own)
        seen = []
        for _ in range(4):
            keeper = KeeperService(web, client.certify, token, self.mesh / ca_folder.BUNDLE, reactor)
            keeper.startService()
            self.addCleanup(keeper.stopService)
            seen.append(await keeper.first())
            await deferLater(reactor, 0)  # it is still about to go on
        self.assertEqual([each.name for each in seen], [web] * 4)
        self.assertEqual(len({each.chain[0].serial_number for each in seen}), 4)
        self.assertEqual({each.chain[1] for each in seen}, {seen[0].chain[1]})
        for process in replicas:
            self.assertEqual(process.out.count(f"issued a certificate to {web}"), 2, process.out)
            self.assertNotIn(token.read_text().split(".")[1], process.out)


class Mounted(ReplicasCase):
    async def test_a_secret_and_a_config_map_that_the_kubelet_swaps_are_taken_up(self) -> None:
        """The folders are links through ``..data``, swapped by one rename; the anchors are a ConfigMap's."""
        secret, config_map = self.place(), self.place()
        self.mount(secret, config_map)
        await self.account(ACCOUNT, [REVIEWS], cluster=True)
        anchors = str(config_map / "ca-bundle.crt")
        process = await self.running(issuer=str(secret), trust_anchors_file=anchors)
        token = await self.pod_token()
        self.assertEqual(await self.certify(token, port=self.port_of(process)), self.issued())
        self.mesh = self.place()
        ca_folder.init(self.mesh, self.scope, datetime.now(UTC))  # another mesh: its root, its issuer
        self.mount(secret, config_map)
        await self.wait_until(lambda: f"issuer in {secret} loaded again" in process.out, 30, "taken up")
        self.assertEqual(await self.certify(token, port=self.port_of(process)), self.issued())

    def mount(self, secret: Path, config_map: Path) -> None:
        """Put the mesh's issuer and its anchors where the kubelet would."""
        issuer = self.mesh / ca_folder.ISSUER
        write_folder(secret, {name: read_file(issuer / name) for name in SECRET[:2]}, private={"tls.key"})
        write_folder(config_map, {"ca-bundle.crt": read_file(self.mesh / ca_folder.BUNDLE)}, private=())


class KeySets(KubeIdentityCase):
    async def test_tokens_of_a_cluster_are_good_elsewhere_by_its_published_keys(self) -> None:
        """Outside of the cluster, and without asking it: only by what its API server publishes."""
        keys = self.place()
        keys.write_text(await self.kubectl("get", "--raw", "/openid/v1/jwks"))
        found = json.loads(await self.kubectl("get", "--raw", "/.well-known/openid-configuration"))
        await self.account(ACCOUNT)
        token = await self.pod_token()
        flags = {"validator": "jwks", "jwks_file": str(keys), "jwks_issuer": found["issuer"], "kubernetes_folder": ""}
        service = await self.start(**flags)
        self.assertIsNone(service.ready_reason())
        self.assertEqual(await self.certify(token), self.issued())
        pod = await self.call("GET", f"/api/v1/namespaces/{self.namespace}/pods/web-1")
        other = await self.token(self.namespace, "web", "vault", pod)
        said = "the token's audience is not 'identity.l5d.io'"
        self.assertEqual(await self.certify(other), ("FAILED_PRECONDITION", said))

    async def test_keys_that_an_api_server_publishes_for_everybody(self) -> None:
        """It does not by itself: its role for that must be given to who asks without a token."""
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": f"{self.namespace}-discovery"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "system:service-account-issuer-discovery",
            },
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:unauthenticated"}],
        }
        await self.account(ACCOUNT)
        token = await self.pod_token()
        service = await self.start(
            validator="jwks",
            jwks_url=f"{self.cluster.url}/openid/v1/jwks",
            jwks_ca_file=str(self.cluster.ca_file),
            jwks_issuer="https://kubernetes.default.svc.cluster.local",
            kubernetes_folder="",
        )
        await self.wait_until(lambda: "answers with status 403" in str(service.ready_reason()), what="refused")
        self.assertEqual((await self.certify(token))[0], "UNAVAILABLE")
        await self.apply([binding])
        await self.wait_until(lambda: service.ready_reason() is None, 30, "ready")
        self.assertEqual(await self.certify(token), self.issued())
