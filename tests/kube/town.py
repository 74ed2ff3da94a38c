"""A cluster whose pods run: a real control plane, a namespace for each pod, our containers as their objects say.

    API server (on this machine's loopback) ◀── passage ── 10.96.0.1:443 in the pods' network
    API server ──▶ 198.18.x.y ── passage ──▶ the pods of injector and directory

Applications are programs of the tests: a container named ``app`` runs the command that its object has, with ``python``
for this interpreter. There is no kube-proxy: connections to a Service reach a pod only by the pod's own proxy.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meshtx.demo import capture
from meshtx.demo.lab import Host, Lab, wait_until
from meshtx.kube.tap_names import API_SERVICE
from meshtx.kube.webhook import NAME as WEBHOOK
from tests.kube.case import add_address, remove_address
from tests.kube.control_plane import ControlPlane
from tests.kube.kubelet import Json, Kubelet, containers
from tests.mesh.town import environment

API_ADDRESS, API_PORT = "10.96.0.1", 443
"""The ClusterIP of the Service `kubernetes`."""

SERVICE_NETWORK = "10.96.0.0/12"
POD_NETWORK = "10.1.0.0/24"
NODE, NODE_ADDRESS = "node", "10.1.0.253"
CONTROL_PLANE = "meshtx"
PROGRAMS = ("identity", "directory", "injector")
ASKED = {"injector": 8443, "directory": 8089}
"""The programs that the API server asks, as a webhook and as an aggregated API, and where."""
INIT, PROXY = "meshtx-init", "meshtx-proxy"


@dataclass
class Running:
    """A pod that runs.

    :param pod: as it was stored when it was started.
    :param ip: of the pod, as the API has it.
    """

    pod: Json
    host: Host
    ip: str
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.pod["metadata"]["name"])

    @property
    def path(self) -> str:
        return f"/api/v1/namespaces/{self.pod['metadata']['namespace']}/pods/{self.name}"

    def end(self, container: str) -> None:
        """End one container as a kubelet does: ask it to, and wait until it has."""
        self.processes[container].terminate()
        self.processes[container].wait(30)

    def stop(self) -> None:
        """Kill what runs in it."""
        for process in self.processes.values():
            process.kill()
            process.wait()


class KubeTown:
    """Begins with no pod; `remove` takes all away but the control plane, which is its process's."""

    def __init__(self, cluster: ControlPlane) -> None:
        self.cluster = cluster
        self.pods: dict[str, Running] = {}
        self._last = 1
        self._taps = 0
        self._outside: dict[str, str] = {}
        self._lab = Lab()
        self._lab.__enter__()
        try:
            self._build()
        except BaseException:
            self.remove()
            raise

    def _build(self) -> None:
        self._lab.build_fabric()
        self._gate = gate = self._lab.add_host("api", "10.1.0.254")
        gate.run("ip", "address", "add", f"{API_ADDRESS}/32", "dev", "eth0")
        target = self.cluster.url.rpartition(":")[2]
        self._passage(gate, API_ADDRESS, API_PORT, f"/proc/{os.getpid()}/ns/net", "127.0.0.1", int(target))
        self._addresses = {name: f"10.1.0.{last}" for last, name in enumerate(PROGRAMS, 241)}
        names = {
            f"meshtx-{name}.{CONTROL_PLANE}.svc{domain}": address
            for name, address in self._addresses.items()
            for domain in ("", ".cluster.local")
        }
        where = {"KUBERNETES_SERVICE_HOST": API_ADDRESS, "KUBERNETES_SERVICE_PORT": str(API_PORT)}
        self._kubelet = Kubelet(self._lab, self.cluster, names, where)
        self._node()

    def _passage(self, host: Host | None, *arguments: str | int) -> subprocess.Popen[bytes]:
        command = (sys.executable, "-m", "tests.kube.passage", *map(str, arguments))
        log = f"passage-{arguments[0]}"
        if host is None:
            process = self._lab.start(command, log=log, env=environment())
        else:
            process, log = host.start(*command, log=log, env=environment()), f"{host.name}-{log}"
        wait_until(lambda: "open" in self._lab.log(log), "the passage", 20)
        return process

    def _node(self) -> None:
        api = self.cluster.api
        status, _ = api.ask("POST", "/api/v1/nodes", {"metadata": {"name": NODE}, "spec": {"podCIDR": POD_NETWORK}})
        if status not in {201, 409}:
            raise AssertionError(f"no node: {status}")
        addresses = {"status": {"addresses": [{"type": "InternalIP", "address": NODE_ADDRESS}]}}
        api.call("PATCH", f"/api/v1/nodes/{NODE}/status", addresses, kind="merge")

    def record(self) -> None:
        """Begin to record what crosses the pods' network."""
        self._wire = self._lab.folder / "wire.pcap"
        self._capture = self._lab.hosts["fabric"].start(
            sys.executable, "-m", capture.__name__, str(self._wire), log="capture", env=environment()
        )
        wait_until(lambda: self._wire.is_file() and self._wire.stat().st_size > 0, "the capture", 20)

    def recorded(self) -> list[capture.Stream]:
        """Stop recording, and return what crossed."""
        self._capture.terminate()
        self._capture.wait()
        return capture.streams(self._wire)

    def remove(self) -> None:
        """Take everything away."""
        self._lab.__exit__(None, None, None)
        for address in self._outside.values():
            remove_address(address)
        if self.cluster.api_runs:  # an API that is registered and away keeps every namespace from its end
            self.cluster.kubectl("delete", "apiservice", API_SERVICE, "--ignore-not-found", "--wait=false")
            self.cluster.kubectl("delete", "mutatingwebhookconfiguration", WEBHOOK, "--ignore-not-found")

    def apply(self, manifest: str) -> None:
        """Apply a manifest."""
        self.cluster.kubectl("apply", "--server-side", "-f", "-", input=manifest)

    def apply_objects(self, *objects: Json) -> None:
        """Apply objects."""
        self.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    def install(self, *options: str) -> None:
        """Install the control plane, and run its pods until all of them are ready."""
        command = [sys.executable, "-m", "meshtx", "install", *options]
        made = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
        if made.returncode:
            raise AssertionError(f"meshtx install: {made.stderr}")
        self.apply(made.stdout)
        for name in PROGRAMS:
            (pod,) = self.wait_for_pods(CONTROL_PLANE, {"app.kubernetes.io/name": f"meshtx-{name}"}, 1)
            self.run(pod, self._addresses[name])

    def tap(self, *arguments: str) -> tuple[subprocess.Popen[bytes], Path]:
        """Start ``meshtx tap`` as a user of kubectl would; return it and the file that it writes."""
        self._taps += 1
        log, env = f"tap-{self._taps}", {**environment(), "KUBECONFIG": str(self.cluster.admin_kubeconfig)}
        process = self._lab.start([sys.executable, "-m", "meshtx", "tap", *arguments], log=log, env=env)
        return process, self._lab.folder / f"{log}.log"

    def beside(self, module: str, *arguments: str) -> tuple[subprocess.Popen[bytes], Path]:
        """Start a program of the tests in the pods' network, without a proxy; return it and the file that it writes."""
        log = module.rpartition(".")[2]
        process = self._gate.start(sys.executable, "-m", module, *arguments, log=log, env=environment())
        return process, self._lab.folder / f"{self._gate.name}-{log}.log"

    def address(self, program: str) -> str:
        """Return where in the pods' network a program of the control plane is."""
        return self._addresses[program]

    @property
    def folder(self) -> Path:
        """Where files may be written that go with the town."""
        return self._lab.folder

    # Pods.

    def wait_for_pods(self, namespace: str, labels: dict[str, str], number: int) -> list[Json]:
        """Return the pods with these labels, once there are so many that are not ending."""
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        found: list[Json] = []

        def there() -> bool:
            path = f"/api/v1/namespaces/{namespace}/pods"
            items = self.cluster.api.call("GET", path, query={"labelSelector": selector})["items"]
            found[:] = [each for each in items if "deletionTimestamp" not in each["metadata"]]
            return len(found) == number

        wait_until(there, f"{number} pods {selector}", 30)
        return found

    def run(self, pod: Json, ip: str = "", *, ready: bool = True) -> Running:
        """Do the scheduler's and the kubelet's part for a pod: give it a node and an address, and run it.

        :param ready: tell the API server once it is.
        """
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        if not ip:
            self._last += 1
            ip = f"10.1.0.{self._last}"
        host = self._lab.add_host(name, ip)
        host.run("ip", "route", "add", SERVICE_NETWORK, "dev", "eth0")
        running = Running(pod, host, ip)
        if not pod["spec"].get("nodeName"):
            body = {"target": {"kind": "Node", "name": NODE}, "metadata": {"name": name}}
            self.cluster.api.call("POST", f"/api/v1/namespaces/{namespace}/pods/{name}/binding", body)
        self._tell(running, ready=False)
        running.pod = self.cluster.api.call("GET", running.path)
        self._start(running)
        self.pods[name] = running
        if ready:
            self.tell_ready(running)
        return running

    def tell_ready(self, running: Running) -> float:
        """Tell the API server that a pod is ready; return when that was written (seconds since the epoch)."""
        self._tell(running, ready=True)
        return time.time()

    def delete(self, running: Running) -> float:
        """Delete a pod at once, which goes on running; return when that was written."""
        self.cluster.api.call("DELETE", running.path, query={"gracePeriodSeconds": "0"})
        return time.time()

    def log(self, running: Running, container: str) -> str:
        """Return what a container has written."""
        return self._kubelet.log(running.pod, containers(running.pod)[container])

    def volume(self, running: Running, name: str) -> Path:
        """Return the folder that has the files of a pod's volume."""
        return self._kubelet.volume(running.pod, name)

    def _tell(self, running: Running, *, ready: bool) -> None:
        condition = "True" if ready else "False"
        status = {
            "phase": "Running" if ready else "Pending",
            "podIP": self._known_as(running),
            "podIPs": [{"ip": self._known_as(running)}],
            "hostIP": NODE_ADDRESS,
            "startTime": running.pod["metadata"]["creationTimestamp"],
            "conditions": [{"type": kind, "status": condition} for kind in ("Ready", "ContainersReady")],
        }
        self.cluster.api.call("PATCH", f"{running.path}/status", {"status": status}, kind="merge")

    def _known_as(self, running: Running) -> str:
        """Return a pod's address in the API; of whom the API server asks, one where it finds a way to it."""
        port = next((port for name, port in ASKED.items() if self._addresses[name] == running.ip), None)
        if port is None:
            return running.ip
        if running.ip not in self._outside:
            self._outside[running.ip] = address = add_address()
            self._passage(None, address, port, f"/proc/{running.host.pid}/ns/net", running.ip, port)
        return self._outside[running.ip]

    def _start(self, running: Running) -> None:
        """Start the containers in their order, each waited for as a kubelet does."""
        pod, host = running.pod, running.host
        for container in _in_order(pod):
            if container["name"] == INIT:
                self._kubelet.run_to_end(pod, container, host)
                continue
            process = self._kubelet.start(pod, container, host)
            running.processes[container["name"]] = process
            if "lifecycle" in container:
                self._kubelet.until_ready(pod, container, host, process)
        for container in pod["spec"]["containers"]:
            if "readinessProbe" in container:
                self._kubelet.until_ready(pod, container, host, running.processes[container["name"]])


def _in_order(pod: Json) -> Iterator[Json]:
    spec: dict[str, Any] = pod["spec"]
    yield from spec.get("initContainers", ())
    yield from spec["containers"]
