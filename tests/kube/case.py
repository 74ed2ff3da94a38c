"""What a test of this part starts from: a namespace of its own in a real control plane, and short ways to fill it."""

from __future__ import annotations

import inspect
import itertools
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, TestCase

from meshtx.kube.api import KubeApi
from meshtx.kube.api_config import ApiConfig
from tests.kube.binaries import NoBinaries
from tests.kube.control_plane import START_TIMEOUT, ControlPlane, control_plane
from tests.kube.flags import ISSUER
from tests.kube.plain_api import Document

AUDIENCE = "identity.l5d.io"
"""Of the tokens that the identity service takes."""

NODE = "node"
"""Where pods run unless a test says otherwise."""

NODE_ADDRESS = "198.51.100.1"

POLL_EVERY = 0.02
"""Seconds between two looks of :meth:`KubeTestCase.wait_until`."""

_CLUSTER_WIDE = re.compile(r"Node|Namespace|Cluster\w+|APIService|CustomResourceDefinition|\w+WebhookConfiguration")
"""Kinds that do not go with a namespace."""

_numbers = itertools.count(1)


class KubeTestCase(TestCase):
    """A test against a control plane that its process shares, in a namespace that it has for itself.

    Fails if ``MESHTX_KUBE`` is ``required``, else is skipped, where no control plane can be built.
    """

    timeout = 90

    async def setUp(self) -> None:
        """Make the namespace; the first test of a process starts (or even builds) the control plane."""
        self.cluster = started()
        self._nodes: set[str] = set()
        self.namespace = await self.new_namespace()

    async def new_namespace(self, name: str = "", **labels: str) -> str:
        """Return the name of a new namespace in which pods can be made; it is gone after the test.

        :param name: if it matters; else one that no other test has.
        :param labels: of the namespace, ``_`` standing for what Python allows in no name: use ``**{...}``.
        """
        name = name or f"test-{os.getpid()}-{next(_numbers)}"
        body = {"metadata": {"name": name, "labels": labels}}

        async def made() -> bool:
            status, answer = await self.ask("POST", "/api/v1/namespaces", body)
            self.assertIn(status, (201, 409), answer)
            return status == 201

        await self.wait_until(made, 30.0, f"the end of an earlier namespace {name}")
        self.addCleanup(self._remove_namespace, name)
        await self.wait_for(f"/api/v1/namespaces/{name}/serviceaccounts/default")
        return name

    async def call(self, method: str, path: str, body: object = None, **options: Any) -> Document:
        """Ask the API server as admin and return its answer; options as for :meth:`PlainApi.ask`.

        :raises tests.kube.plain_api.Refused: the answer is an error.
        """
        return await deferToThread(self.cluster.api.call, method, path, body, **options)

    async def ask(self, method: str, path: str, body: object = None, **options: Any) -> tuple[int, Document]:
        """Ask the API server as admin, or whom ``token`` says; return the HTTP status and the answer."""
        return await deferToThread(self.cluster.api.ask, method, path, body, **options)

    async def kubectl(self, *arguments: str, input: str | None = None) -> str:  # noqa: A002  # as subprocess has it
        """Return what kubectl prints, run as admin with the test's namespace as the default one.

        :raises tests.kube.control_plane.KubectlFailed: its exit status is not 0.
        """
        return await deferToThread(self.cluster.kubectl, *arguments, input=input, namespace=self.namespace)

    async def apply(self, documents: Sequence[Document]) -> None:
        """Apply objects as ``kubectl apply --server-side`` does; those outside namespaces go after the test."""
        for document in documents:
            if _CLUSTER_WIDE.fullmatch(document["kind"]):
                self.addCleanup(self.delete, document["kind"], document["metadata"]["name"])
        manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)})
        await self.kubectl("apply", "--server-side", "-f", "-", input=manifest)

    async def delete(self, kind: str, name: str) -> None:
        """Delete an object at once and wait for nothing; one that is not there is no error."""
        await self.kubectl("delete", kind, name, "--ignore-not-found", "--wait=false", "--grace-period=0", "--force")

    async def wait_until(
        self,
        condition: Callable[[], object],
        timeout: float = 10.0,  # noqa: ASYNC109  # asyncio's is none of Twisted's
        what: str = "the condition",
    ) -> Any:
        """Ask until the answer is true, with the reactor running, and return that answer.

        :param condition: a function or a coroutine function.
        :param timeout: seconds.
        :param what: is waited for, in the error's words.
        """
        deadline = reactor.seconds() + timeout
        while True:
            found = condition()
            answer = await found if inspect.isawaitable(found) else found
            if answer:
                return answer
            if reactor.seconds() > deadline:
                self.fail(f"{what}: not so after {timeout} s; the last answer was {answer!r}")
            await deferLater(reactor, POLL_EVERY)

    async def wait_for(self, path: str, timeout: float = 10.0) -> Document:  # noqa: ASYNC109  # likewise
        """Wait until there is an object at a path of the API, and return it."""

        async def look() -> Document | None:
            status, found = await self.ask("GET", path)
            return found if status == 200 else None

        return await self.wait_until(look, timeout, f"an object at {path}")

    async def token(
        self, namespace: str, account: str, audience: str = AUDIENCE, pod: Document | None = None, seconds: int = 3600
    ) -> str:
        """Return a token of a ServiceAccount, as the kubelet would project it into that pod.

        :param pod: to bind the token to, as :meth:`pod` returned it; None binds it to nothing.
        :param seconds: that it is valid for, at least 600.
        """
        spec: Document = {"audiences": [audience], "expirationSeconds": seconds}
        if pod is not None:
            name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
            spec["boundObjectRef"] = {"kind": "Pod", "apiVersion": "v1", "name": name, "uid": uid}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        answer = await self.call("POST", path, {"spec": spec})
        token: str = answer["status"]["token"]
        return token

    async def account(self, name: str, rules: Sequence[Document] = (), *, cluster: bool = False) -> None:
        """Make a ServiceAccount in the test's namespace that may do what these rules of RBAC say.

        :param cluster: whether it may so everywhere, or in this namespace.
        """
        body = {"metadata": {"name": name}}
        await self.call("POST", f"/api/v1/namespaces/{self.namespace}/serviceaccounts", body)
        if not rules:
            return
        prefix, unique = ("Cluster", f"{self.namespace}-{name}") if cluster else ("", name)
        meta = {"name": unique} if cluster else {"name": unique, "namespace": self.namespace}
        group = "rbac.authorization.k8s.io"
        common = {"apiVersion": f"{group}/v1", "metadata": meta}
        binding = {
            "kind": f"{prefix}RoleBinding",
            "roleRef": {"apiGroup": group, "kind": f"{prefix}Role", "name": unique},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": self.namespace}],
        }
        await self.apply([{**common, "kind": f"{prefix}Role", "rules": list(rules)}, {**common, **binding}])

    async def node(self, name: str, pod_cidr: str | None = None, address: str = NODE_ADDRESS) -> Document:
        """Return a node, made if it is not there; one with another name than ``NODE`` goes after the test."""
        self._nodes.add(name)
        spec = {"podCIDR": pod_cidr, "podCIDRs": [pod_cidr]} if pod_cidr else {}
        status, made = await self.ask("POST", "/api/v1/nodes", {"metadata": {"name": name}, "spec": spec})
        if status == 409:
            return await self.call("GET", f"/api/v1/nodes/{name}")
        self.assertEqual(status, 201, made)
        if name != NODE:
            self.addCleanup(self.ask, "DELETE", f"/api/v1/nodes/{name}")
        facts = {"addresses": [{"type": "InternalIP", "address": address}]}
        return await self.call("PATCH", f"/api/v1/nodes/{name}/status", {"status": facts}, kind="merge")

    async def pod(
        self,
        name: str,
        ip: str,
        labels: Mapping[str, str] = {},
        *,
        account: str = "default",
        node: str = NODE,
        ports: Iterable[int | Document] = (),
        annotations: Mapping[str, str] = {},
        namespace: str | None = None,
        ready: bool = True,
        **spec: Any,
    ) -> Document:
        """Return a pod that runs, as far as the API knows.

        :param ports: that its container declares, as numbers or as the API has them.
        :param spec: more of the pod's spec.
        """
        if node not in self._nodes:
            await self.node(node)
        declared = [{"containerPort": port} if isinstance(port, int) else port for port in ports]
        body = {
            "metadata": {"name": name, "labels": dict(labels), "annotations": dict(annotations)},
            "spec": {
                "serviceAccountName": account,
                "nodeName": node,
                "containers": [{"name": "app", "image": "example.org/app:1", "ports": declared}],
                **spec,
            },
        }
        path = f"/api/v1/namespaces/{namespace or self.namespace}/pods"
        made = await self.call("POST", path, body)
        return await self._say_status(f"{path}/{name}", made, [ip], ready, "Running")

    async def run_pod(
        self, name: str, *ips: str, namespace: str | None = None, ready: bool = True, phase: str = "Running"
    ) -> Document:
        """Do the scheduler's and the kubelet's part for a pod, such as one of a Deployment; return it as it is then.

        Says the same again of one that runs: with another ``ready`` or ``phase``, that is what changes.
        """
        path = f"/api/v1/namespaces/{namespace or self.namespace}/pods/{name}"
        found = await self.call("GET", path)
        if not found["spec"].get("nodeName"):
            await self.node(NODE)
            target = {"target": {"kind": "Node", "name": NODE}, "metadata": {"name": name}}
            await self.call("POST", f"{path}/binding", target)
        return await self._say_status(path, found, ips, ready, phase)

    async def _say_status(self, path: str, pod: Document, ips: Sequence[str], ready: bool, phase: str) -> Document:
        condition = "True" if ready else "False"
        status = {
            "phase": phase,
            "hostIP": NODE_ADDRESS,
            "podIP": ips[0],
            "podIPs": [{"ip": ip} for ip in ips],
            "startTime": pod["metadata"]["creationTimestamp"],
            "conditions": [{"type": kind, "status": condition} for kind in ("Ready", "ContainersReady")],
        }
        return await self.call("PATCH", f"{path}/status", {"status": status}, kind="merge")

    async def delete_pod(self, name: str, namespace: str | None = None) -> None:
        """Delete a pod at once: no kubelet would confirm that it ended."""
        path = f"/api/v1/namespaces/{namespace or self.namespace}/pods/{name}"
        await self.call("DELETE", path, query={"gracePeriodSeconds": "0"})

    async def service(
        self,
        name: str,
        selector: Mapping[str, str],
        ports: Iterable[int | Document],
        *,
        namespace: str | None = None,
        **spec: Any,
    ) -> Document:
        """Return a Service; its ports as numbers or as the API has them, ``spec`` is more of its spec."""
        declared = [{"port": port, "name": f"port-{port}"} if isinstance(port, int) else port for port in ports]
        body = {"metadata": {"name": name}, "spec": {"selector": dict(selector), "ports": declared, **spec}}
        return await self.call("POST", f"/api/v1/namespaces/{namespace or self.namespace}/services", body)

    async def endpoints(self, service: str, namespace: str | None = None) -> list[Document]:
        """Return the endpoints that the EndpointSlices of a Service have at this moment."""
        selector = {"labelSelector": f"kubernetes.io/service-name={service}"}
        path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace or self.namespace}/endpointslices"
        slices = await self.call("GET", path, query=selector)
        return [endpoint for each in slices["items"] for endpoint in each["endpoints"] or []]

    def reachable_address(self) -> str:
        """Return an address of this machine that the API server may connect to, until the test ends.

        The API server reaches a webhook or an aggregated API at an address from an EndpointSlice, and refuses a
        slice that holds a loopback address. So this is one of 198.18.0.0/15, which RFC 2544 keeps for tests, added to
        ``lo``: traffic to it stays within this machine.

        :raises SkipTest: only root may add one.
        """
        if os.geteuid() != 0:
            raise SkipTest("only root may add an address to an interface")
        address = add_address()
        self.addCleanup(remove_address, address)
        return address

    @cached_property
    def api(self) -> KubeApi:
        """The API as the program under test comes to it, as admin."""
        certificate, key = (path.read_text() for path in (self.cluster.admin.certificate, self.cluster.admin.key))
        return self._kube_api(certificate=certificate, key=key)

    async def api_as(self, namespace: str, account: str) -> KubeApi:
        """Return the API as a ServiceAccount comes to it."""
        return self._kube_api(token=await self.token(namespace, account, ISSUER))

    def stop_api(self) -> None:
        """Kill the API server (and the controllers with it); it is back after the test if not before."""
        self.cluster.stop_api()
        self.addCleanup(self.start_api)

    async def start_api(self) -> None:
        """Start the API server that was killed, and wait until it is ready, with the reactor running."""
        if self.cluster.api_runs:
            return
        self.cluster.spawn_api()

        async def ready() -> bool:
            return await deferToThread(self.cluster.is_ready)

        await self.wait_until(ready, START_TIMEOUT, "the API server's readiness")
        self.cluster.spawn_controllers()

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig file of the admin, with the test's namespace as the default one."""
        return self.cluster.kubeconfig(self.namespace)

    def _kube_api(self, **credentials: Any) -> KubeApi:
        config = ApiConfig(server=self.cluster.url, ca=self.cluster.ca_file.read_text(), **credentials)
        api = KubeApi(reactor, config)
        self.addCleanup(api.close)
        return api

    async def _remove_namespace(self, name: str) -> None:
        """Start its end, which the namespace controller completes; its pods would wait for a kubelet."""
        await self.call("DELETE", f"/api/v1/namespaces/{name}/pods", query={"gracePeriodSeconds": "0"})
        await self.call("DELETE", f"/api/v1/namespaces/{quote(name)}")


def started() -> ControlPlane:
    """Return the control plane of this process.

    :raises SkipTest: none can be had here, and ``MESHTX_KUBE`` does not say ``required``.
    """
    try:
        return control_plane()
    except NoBinaries as error:
        if os.environ.get("MESHTX_KUBE") == "required":
            raise
        raise SkipTest(str(error)) from None


def add_address() -> str:
    """Add an address that nobody has to ``lo`` and return it; the kernel refuses one that is taken."""
    for number in range(os.getpid(), os.getpid() + 100):
        address = f"198.18.{number // 256 % 256}.{number % 256}"
        if _ip("add", address):
            return address
    raise AssertionError("no address can be added to lo")


def remove_address(address: str) -> None:
    """Remove what `add_address` returned."""
    _ip("del", address)


def _ip(action: str, address: str) -> bool:
    command = ["ip", "address", action, f"{address}/32", "dev", "lo"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
