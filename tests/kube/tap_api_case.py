"""A directory in this process that a real API server passes taps on to, and pods whose proxies' tap ports are real."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from meshtx.config_load import load
from meshtx.kube.manifests.values import Values
from meshtx.kube.manifests.whole import documents
from meshtx.kube.settings.directory import DirectoryConfig
from meshtx.kube.tap_names import API_SERVICE, GROUP, PATH, SERVICE
from meshtx.net.contexts import Contexts
from meshtx.net.listen import listen
from meshtx.net.sockets import SocketOptions
from meshtx.observe.flow import Direction
from meshtx.observe.flows import Flows
from meshtx.observe.metrics import Metrics
from meshtx.observe.tap import TapHub
from meshtx.observe.tap_rpc import TapService
from meshtx.pki.name import MeshScope
from meshtx.rpc.server import RpcServer
from meshtx.rpc.tls_listener import TlsListener
from meshtx.services.directory import DirectoryProgram, make
from meshtx.wire.address import Address
from meshtx.wire.ports import PROXY_TAP
from tests.cli.test_tap import Meshtx
from tests.identity.made import write_credentials
from tests.kube.binaries import binaries
from tests.kube.case import ISSUER, KubeTestCase
from tests.kube.plain_api import Document
from tests.net.certificates import make_ca, make_leaf
from tests.observe.cases import CLIENT, MTLS, SERVER, LineDetector

PORT = 8089
TAPPERS = "meshtx-tap"
SYSTEM = "kube-system"
CA = make_ca()


def manifests(namespace: str) -> list[Document]:
    """Return what a directory needs of an installation, and what its users do."""
    unused = {"Deployment", "NetworkPolicy", "PodDisruptionBudget"}
    every = documents(Values(namespace=namespace))
    ours = [each for each in every if each["metadata"]["name"].startswith((SERVICE, TAPPERS, API_SERVICE))]
    return [each for each in ours if each["kind"] not in unused]


class Proxy:
    """What a pod's proxy sees, and its tap port."""

    def __init__(self, ip: str, contexts: Contexts, directory: Any) -> None:
        metrics = Metrics()
        self.hub = TapHub(reactor, metrics)
        self._flows = Flows(reactor, metrics, self.hub, [LineDetector()])
        self.server = RpcServer(TapService(self.hub, {directory}).handlers(), reactor)
        factory = TlsListener(self.server, lambda: contexts, reactor, require_peer=True, failed=lambda _: None)
        self.port = listen(reactor, Address.of(ip, PROXY_TAP), factory, SocketOptions())

    def exchange(self, path: str) -> None:
        """Let one request and its answer pass."""
        handle = self._flows.open(Direction.IN, CLIENT, SERVER)
        handle.secured(MTLS)
        handle.client_data(b"?" + path.encode())
        handle.server_data(b"!200")
        handle.ended(10, 4)

    async def stop(self) -> None:
        await self.port.stopListening()
        await self.server.stop(0.1)


class TapApiCase(KubeTestCase):
    """The control plane's namespace is the test's; `self.apps` has what is tapped."""

    async def setUp(self) -> None:
        await super().setUp()
        self.folder = Path(self.mktemp()).absolute()  # noqa: ASYNC240  # looks at no file
        self.folder.mkdir(parents=True)
        self.scope = MeshScope(self.namespace)
        self.directory = self.scope.name(self.namespace, SERVICE)
        self.proxies: dict[str, Proxy] = {}
        self.apps = await self.new_namespace()
        await self.apply(manifests(self.namespace))
        for kind in ("Role", "RoleBinding"):
            self.addCleanup(self.kubectl, "delete", kind, f"{SERVICE}-front-proxy", "-n", SYSTEM, "--ignore-not-found")
        self.address = await self.place("directory")
        self.program = await self.start(self.address)

    async def place(self, name: str) -> str:
        """Return the address of a new pod behind the directory's Service, where one may listen."""
        address = self.reachable_address()
        labels = {"app.kubernetes.io/name": SERVICE}
        await self.pod(name, address, labels, ports=[{"name": "tap", "containerPort": PORT}])
        return address

    async def start(self, address: str) -> DirectoryProgram:
        """Return a directory that API servers can call."""
        (self.folder / "token").write_text(await self.token(self.namespace, SERVICE, ISSUER))
        (self.folder / "ca.crt").write_bytes(self.cluster.ca_file.read_bytes())
        (self.folder / "anchors.crt").write_text(CA.pem)
        write_credentials(self.folder, make_leaf(CA, self.directory))
        flags = {
            "name": str(self.directory),
            "trust_anchors_file": str(self.folder / "anchors.crt"),
            "certificate_file": str(self.folder / "tls.crt"),
            "key_file": str(self.folder / "tls.key"),
            "kubernetes_folder": str(self.folder),
            "listen": "127.0.0.1:0",
            "tap_listen": f"{address}:{PORT}",
            "admin_listen": "127.0.0.1:0",
        }
        host, _, port = self.cluster.url.removeprefix("https://").rpartition(":")
        environ = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
        program = make(reactor, load(DirectoryConfig, flags, {}, None), environ)
        program.privilegedStartService()
        program.startService()
        self.addCleanup(self.stop, program)
        await self.wait_until(lambda: program.ready_reason() is None, 20.0, what="readiness")
        await self.wait_until(self.available, 40.0, what="the API server's finding the tap API available")
        return program

    async def stop(self, program: DirectoryProgram) -> None:
        """Stop a directory, unless a test has done so."""
        if program.running:
            await program.stopService()

    async def available(self) -> bool:
        """Return whether the API server calls the API available, and has a route to it: two controllers of its own."""
        status, found = await self.ask("GET", f"/apis/apiregistration.k8s.io/v1/apiservices/{API_SERVICE}")
        conditions = found.get("status", {}).get("conditions", [])
        if status != 200 or not any(each["type"] == "Available" and each["status"] == "True" for each in conditions):
            return False
        return (await self.ask("GET", PATH))[0] == 200

    def template(self) -> Document:
        """Return the template of meshed pods."""
        labels = {"app": "web", "meshtx.io/control-plane-ns": self.namespace}
        proxy = {"name": "meshtx-proxy", "image": "example.org/meshtx:1", "restartPolicy": "Always"}
        app = {"name": "app", "image": "example.org/app:1"}
        return {"metadata": {"labels": labels}, "spec": {"initContainers": [proxy], "containers": [app]}}

    async def deployment(self, name: str = "web") -> list[str]:
        """Make a Deployment of one meshed pod; return the names of its pods, which run."""
        spec = {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": self.template()}
        path = f"/apis/apps/v1/namespaces/{self.apps}/deployments"
        await self.call("POST", path, {"metadata": {"name": name}, "spec": spec})
        return await self.running(1)

    async def running(self, number: int) -> list[str]:
        """Run the pods that there are, once there are so many; return their names."""

        async def there() -> list[str]:
            items = (await self.call("GET", f"/api/v1/namespaces/{self.apps}/pods"))["items"]
            names = [each["metadata"]["name"] for each in items if "deletionTimestamp" not in each["metadata"]]
            return names if len(names) == number else []

        names: list[str] = await self.wait_until(there, 20.0, what=f"{number} pods")
        for name in set(names) - set(self.proxies):
            await self.run_proxy(name)
        return names

    async def run_proxy(self, name: str) -> Proxy:
        """Run a pod, and its proxy's tap port."""
        ip = self.reachable_address()
        contexts = Contexts(make_leaf(CA, self.scope.name(self.apps, "default")), CA.trust)
        proxy = self.proxies[name] = Proxy(ip, contexts, self.directory)
        self.addCleanup(proxy.stop)
        await self.run_pod(name, ip, namespace=self.apps)
        await self.wait_until(lambda: self.known(ip), what="the directory's knowing the pod")
        return proxy

    def known(self, ip: str) -> bool:
        store = self.program.watch._needed["pods"].store  # nobody else needs to look into it
        return any(str(each) == ip for pod in store.values() for each in pod.ips)

    async def user(self, name: str, *rules: Document) -> Path:
        """Return the kubeconfig of a user who may do this in `self.apps`."""
        await self.call("POST", f"/api/v1/namespaces/{self.apps}/serviceaccounts", {"metadata": {"name": name}})
        group = "rbac.authorization.k8s.io"
        common = {"apiVersion": f"{group}/v1", "metadata": {"name": name, "namespace": self.apps}}
        subject = {"kind": "ServiceAccount", "name": name, "namespace": self.apps}
        role = {"apiGroup": group, "kind": "Role", "name": name}
        await self.apply(
            [
                {**common, "kind": "Role", "rules": list(rules)},
                {**common, "kind": "RoleBinding", "roleRef": role, "subjects": [subject]},
            ]
        )
        document = json.loads(self.kubeconfig.read_text())
        document["users"][0]["user"] = {"token": await self.token(self.apps, name, ISSUER)}
        file = self.folder / f"{name}.json"
        file.write_text(json.dumps(document))
        return file

    def run_program(self, *command: str, **environment: str) -> Meshtx:
        """Run a program; it is gone when the test ends."""
        process = Meshtx()
        clean = {key: value for key, value in os.environ.items() if not key.startswith("MESHTX_")}
        root = str(Path(__file__).parents[2])
        running = reactor.spawnProcess(
            process, command[0], command, env={**clean, "PYTHONPATH": root, "HOME": str(self.folder), **environment}
        )

        def end() -> Deferred[int] | None:
            if process.status.called:
                return None
            running.signalProcess("KILL")
            return process.status

        self.addCleanup(end)
        self.process = running
        return process

    def tap(self, *arguments: str, kubeconfig: Path | None = None) -> Meshtx:
        """Run ``meshtx tap``."""
        file = str(kubeconfig or self.kubeconfig)
        return self.run_program(sys.executable, "-m", "meshtx", "tap", *arguments, f"--kubeconfig={file}")

    def raw(self, path: str) -> Meshtx:
        """Run ``kubectl get --raw``."""
        kubectl = str(binaries() / "kubectl")
        return self.run_program(kubectl, "get", "--raw", path, KUBECONFIG=str(self.kubeconfig))


RULE = {"apiGroups": [GROUP], "resources": ["deployments/tap"], "verbs": ["watch"], "resourceNames": ["web"]}
