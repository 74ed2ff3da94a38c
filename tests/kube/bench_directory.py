"""What the directory of a large cluster costs, and how late its sidecars learn: a real API server, a real program.

    python -m tests.kube.bench_directory [--pods 5000] [--services 200] [--followers 50] [--rate 20] [--seconds 30]

Makes the cluster, starts ``twistd meshdirectory``, has a sidecar ask for every pod and every Service, then changes
pods while many follow all Services. A delta's time begins before the change is sent to the API server and ends when a
follower has read the answer. Prints figures beside the bars, and ends with 1 if one is missed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import treq
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredSemaphore, ensureDeferred, gatherResults
from twisted.internet.task import deferLater, react
from twisted.web.client import Agent, HTTPConnectionPool

from meshtx.directory.messages import address as address_of
from meshtx.directory.messages import endpoint
from meshtx.kube.api import KubeApi
from meshtx.kube.api_config import ApiConfig
from meshtx.net.contexts import Contexts
from meshtx.rpc.connect import Connector
from meshtx.rpc.messages.directory_pb2 import Answer, FollowRequest, Update
from meshtx.rpc.methods import DIRECTORY_FOLLOW
from meshtx.wire.address import Address
from tests.kube.control_plane import ControlPlane
from tests.net.certificates import make_leaf
from tests.pki.made import SCOPE
from tests.services.directory_files import CA, DIRECTORY, flags, write_files
from tests.services.test_identity_process import TWISTD

NAMESPACE = "bench"
AT_ONCE = 24
"""Requests that make the cluster, at once."""
PORT, ADMIN = 18086, 19990
SKIP = "config.meshtx.io/skip-inbound-ports"
MB = 2**20

RSS_BAR, FULL_BAR, DELTA_BAR = 200 * MB, 10.0, 0.3


class Cluster:
    """The objects, and their addresses."""

    def __init__(self, api: KubeApi, options: argparse.Namespace) -> None:
        self._api = api
        self._options = options
        self.pods = [
            (
                f"web-{number}",
                f"10.{100 + number // 62500}.{number // 250 % 250}.{number % 250 + 1}",
                number % options.services,
            )
            for number in range(options.pods)
        ]
        self.services: dict[int, Address] = {}

    async def make(self) -> None:
        """Create everything, and wait until the controllers have made the slices."""
        await self._api.post("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        await self._api.post("/api/v1/nodes", {"metadata": {"name": "node"}, "spec": {"podCIDR": "10.100.0.0/14"}})
        await self._account()
        await at_once(self._service(number) for number in range(self._options.services))
        await at_once(self._pod(*each) for each in self.pods)
        while (ready := await self._ready()) < len(self.pods):
            print(f"  {ready} endpoints are ready", flush=True)
            await deferLater(reactor, 3.0)

    async def change(self, number: int, skip: bool) -> None:
        """Change what its annotation says of a pod's port."""
        annotations = {SKIP: "8080" if skip else None}
        await self._api.patch(self._path(self.pods[number][0]), {"metadata": {"annotations": annotations}})

    async def _account(self) -> None:
        path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default"
        while True:
            try:
                await self._api.get(path)
            except Exception:  # the controller has not made it yet
                await deferLater(reactor, 0.2)
            else:
                return

    async def _service(self, number: int) -> None:
        made = await self._api.post(
            f"/api/v1/namespaces/{NAMESPACE}/services",
            {
                "metadata": {"name": f"svc-{number}"},
                "spec": {"selector": {"app": f"svc-{number}"}, "ports": [{"port": 80, "targetPort": 8080}]},
            },
        )
        self.services[number] = Address.of(made["spec"]["clusterIP"], 80)

    async def _pod(self, name: str, ip: str, service: int) -> None:
        made = await self._api.post(f"/api/v1/namespaces/{NAMESPACE}/pods", injected_pod(name, f"svc-{service}"))
        status = {
            "phase": "Running",
            "hostIP": "192.168.0.1",
            "podIP": ip,
            "podIPs": [{"ip": ip}],
            "startTime": made["metadata"]["creationTimestamp"],
            "conditions": [{"type": kind, "status": "True"} for kind in ("Ready", "ContainersReady", "Initialized")],
        }
        await self._api.patch(f"{self._path(name)}/status", {"status": status})

    async def _ready(self) -> int:
        slices = await self._api.get(f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices")
        endpoints = [each for piece in slices["items"] for each in piece["endpoints"] or ()]
        return sum(bool(each["conditions"].get("ready")) for each in endpoints)

    @staticmethod
    def _path(name: str) -> str:
        return f"/api/v1/namespaces/{NAMESPACE}/pods/{name}"


def injected_pod(name: str, app: str) -> dict[str, Any]:
    """Return a pod as the injector makes it, as to its size."""
    env = [{"name": f"MESHTX_PROXY_SETTING_{number}", "value": "x" * 40} for number in range(20)]
    anchors = {"name": "MESHTX_PROXY_TRUST_ANCHORS", "value": "x" * 700}
    proxy = {"name": "meshtx-proxy", "image": "example.org/meshtx:1", "restartPolicy": "Always", "env": [*env, anchors]}
    return {
        "metadata": {"name": name, "labels": {"app": app, "meshtx.io/control-plane-ns": "meshtx"}},
        "spec": {
            "nodeName": "node",
            "initContainers": [{"name": "meshtx-init", "image": "example.org/meshtx:1"}, proxy],
            "containers": [{"name": "app", "image": "example.org/app:1", "ports": [{"containerPort": 8080}]}],
        },
    }


class Program:
    """The directory's process."""

    def __init__(self, plane: ControlPlane, folder: Path, token: str) -> None:
        write_files(folder, token, plane.ca_file.read_text())
        settings = flags(folder, listen=f"127.0.0.1:{PORT}", admin_listen=f"127.0.0.1:{ADMIN}")
        host, _, port = plane.url.removeprefix("https://").rpartition(":")
        api = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
        variables = {f"MESHTX_DIRECTORY_{key.upper()}": value for key, value in settings.items()}
        command = [*TWISTD, "--nodaemon", f"--pidfile={folder}/pid", f"--logfile={folder}/log", "meshdirectory"]
        self.began = time.monotonic()
        self._process = subprocess.Popen(command, env={**os.environ, **api, **variables})

    async def ready(self) -> float:
        """Wait until it is; return how many seconds that took."""
        agent = Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=False))
        while self._process.poll() is None:
            try:
                response = await treq.get(f"http://127.0.0.1:{ADMIN}/ready", agent=agent)
                if response.code == 200:
                    return time.monotonic() - self.began
            except Exception:  # it does not listen yet
                pass
            await deferLater(reactor, 0.05)
        raise SystemExit("meshdirectory has ended")

    def memory(self, what: str) -> int:
        """Return bytes: ``VmRSS`` now, ``VmHWM`` the most there was."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(what))

    def cpu(self) -> float:
        """Return the seconds that it has worked."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        self._process.terminate()
        self._process.wait()


async def follow(known: Iterable[Address], told: Callable[[Answer], None]) -> Deferred[None]:
    """Follow as a sidecar; return the stream, which is cancelled to end it."""
    credentials = make_leaf(CA, SCOPE.name(NAMESPACE, "default"))
    connection = await Connector(reactor, "127.0.0.1", PORT, DIRECTORY).connect(Contexts(credentials, CA.trust))

    def update(message: Update) -> None:
        if message.WhichOneof("what") == "answer":
            told(message.answer)

    request = FollowRequest(known=[endpoint(each) for each in known])
    return connection.client.stream(DIRECTORY_FOLLOW, request, update).addErrback(lambda _: connection.client.close())


class Deltas:
    """How long changes take until followers know."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._waiting: dict[Address, tuple[bytes, bool, float]] = {}
        self.times: list[float] = []

    def told(self, answer: Answer) -> None:
        """Note an answer that a follower has read."""
        waiting = self._waiting.get(address_of(answer.address))
        if waiting is not None:
            ip, skip, began = waiting
            if any(each.address.ip == ip and each.skipped == skip for each in answer.service.ready):
                self.times.append(time.monotonic() - began)

    async def change(self, number: int, skip: bool) -> None:
        """Change one pod."""
        _, ip, service = self._cluster.pods[number]
        vip = self._cluster.services[service]
        self._waiting[vip] = (Address.of(ip, 8080).ip.packed, skip, time.monotonic())
        await self._cluster.change(number, skip)


async def full_state(cluster: Cluster) -> float:
    """Ask for everything as one sidecar; return how many seconds that takes."""
    known = [Address.of(ip, 8080) for _, ip, _ in cluster.pods] + list(cluster.services.values())
    left, whole = set(known), Deferred()

    def told(answer: Answer) -> None:
        left.discard(address_of(answer.address))
        if not left and not whole.called:
            whole.callback(None)

    began = time.monotonic()
    stream = await follow(known, told)
    await whole
    stream.cancel()
    return time.monotonic() - began


async def deltas(cluster: Cluster, options: argparse.Namespace) -> tuple[list[float], int]:
    """Change pods while many follow; return the times of what they were told, and how many should have been."""
    measured, streams = Deltas(cluster), []
    for _ in range(options.followers):
        streams.append(await follow(cluster.services.values(), measured.told))
    await deferLater(reactor, 2.0)
    changes, began = [], time.monotonic()
    for number in range(options.rate * options.seconds):
        await deferLater(reactor, max(0.0, began + number / options.rate - time.monotonic()))
        which, skip = number % len(cluster.pods), (number // len(cluster.pods)) % 2 == 0
        changes.append(ensureDeferred(measured.change(which, skip)))
    await gatherResults(changes)
    await deferLater(reactor, 2.0)
    for stream in streams:
        stream.cancel()
    return measured.times, len(changes) * options.followers


async def at_once(tasks: Iterable[Awaitable[None]]) -> None:
    """Do many things, some at a time."""
    limit = DeferredSemaphore(AT_ONCE)
    await gatherResults([limit.run(lambda task=task: ensureDeferred(task)) for task in tasks])  # type: ignore[misc]


async def token(api: KubeApi) -> str:
    """Return a token of an account that may read everything."""
    binding = {
        "metadata": {"name": "bench"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": NAMESPACE}],
    }
    await api.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
    made = await api.post(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default/token", {"spec": {}})
    text: str = made["status"]["token"]
    return text


async def measure(plane: ControlPlane, folder: Path, options: argparse.Namespace) -> bool:
    """Measure, print, and return whether all bars are kept."""
    certificate, key = (path.read_text() for path in (plane.admin.certificate, plane.admin.key))
    api = KubeApi(reactor, ApiConfig(plane.url, plane.ca_file.read_text(), certificate=certificate, key=key))
    cluster, began = Cluster(api, options), time.monotonic()
    await cluster.make()
    print(f"{options.pods} pods, {options.services} services: made in {time.monotonic() - began:.0f} s", flush=True)
    program = Program(plane, folder, await token(api))
    try:
        ready = await program.ready()
        synced = program.memory("VmRSS")
        asked = await full_state(cluster)
        worked, began = program.cpu(), time.monotonic()
        times, expected = await deltas(cluster, options)
        share = (program.cpu() - worked) / (time.monotonic() - began)
        most = program.memory("VmHWM")
    finally:
        program.end()
        await api.close()
    times.sort()
    p50, p99 = (times[int(len(times) * part)] if times else float("nan") for part in (0.5, 0.99))
    print(f"  from the program's start until it is ready {ready:.2f} s, RSS then {synced / MB:.0f} MB")
    print(f"  then one sidecar asks for all {options.pods + options.services} addresses: {asked:.2f} s")
    print(f"  then {options.followers} follow: RSS at most {most / MB:.0f} MB")
    print(f"  {len(times)} of {expected} deltas told, p50 {p50 * 1000:.0f} ms, most {times[-1] * 1000:.0f} ms", end="")
    print(f"; the program used {share * 100:.0f} % of a core")
    verdicts = [
        bar("RSS, the most there was", most / MB, RSS_BAR / MB, " MB"),
        bar("full state, from the start", ready + asked, FULL_BAR, " s"),
        bar("delta p99", p99 * 1000, DELTA_BAR * 1000, " ms"),
        bar("deltas lost", expected - len(times), 0, ""),
    ]
    return all(verdicts)


def bar(what: str, value: float, most: float, unit: str) -> bool:
    """Print a figure beside its bar; return whether it is kept."""
    kept = value <= most
    print(f"{'PASS' if kept else 'FAIL'}  {what}: {value:.1f}{unit} (bar {most:g}{unit})", flush=True)
    return kept


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser()
    for name, default in (("pods", 5000), ("services", 200), ("followers", 50), ("rate", 20), ("seconds", 30)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plane = ControlPlane(Path(folder) / "plane")
        plane.start()
        kept: list[bool] = []

        async def run() -> None:
            kept.append(await measure(plane, Path(folder), options))

        try:
            react(lambda _: ensureDeferred(run()))
        except SystemExit as end:
            if end.code:
                raise
        finally:
            plane.stop()
    sys.exit(0 if kept == [True] else 1)


if __name__ == "__main__":
    main()
