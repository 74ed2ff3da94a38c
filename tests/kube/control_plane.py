"""A real Kubernetes control plane without nodes: etcd, kube-apiserver and kube-controller-manager.

    python -m tests.kube.control_plane up|down|env

The program keeps one in the folder ``.kube`` of this checkout until it is told ``down``; ``env`` prints what makes a
shell's kubectl use it. A test process has one of its own (:func:`control_plane`), which ends with it.

There is no kubelet, no scheduler and no network between pods: a Pod runs when a test says so in its status. What is
real: RBAC, admission (ServiceAccount, PodSecurity, LimitRanger, ResourceQuota, webhooks), tokens and their reviews,
aggregated APIs, and the controllers named in ``CONTROLLERS``.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.kube.binaries import NoBinaries, binaries
from tests.kube.credentials import Authority, Pair, signing_key
from tests.kube.plain_api import PlainApi

LOOPBACK = "127.0.0.1"

START_TIMEOUT = 60.0
"""Seconds until the API server must be ready; it takes about five on two idle cores."""

CONTROLLERS = (
    "clusterrole-aggregation",
    "cronjob",
    "daemonset",
    "deployment",
    "endpointslice",
    "garbage-collector",
    "job",
    "namespace",
    "replicaset",
    "resourcequota",
    "root-ca-certificate-publisher",
    "service-cidr",
    "serviceaccount",
    "statefulset",
)
"""Not among them: what judges nodes (ours never report, their pods would be evicted) and collects finished pods."""

REQUEST_HEADERS = (
    "--requestheader-allowed-names=front-proxy",
    "--requestheader-username-headers=X-Remote-User",
    "--requestheader-group-headers=X-Remote-Group",
    "--requestheader-extra-headers-prefix=X-Remote-Extra-",
)
"""How the API server tells an aggregated one who asks."""

ROOT = Path(__file__).resolve().parents[2]


class ControlPlaneFailed(Exception):
    """A program of the control plane did not start, or ended by itself; says which, and its last words."""


class KubectlFailed(AssertionError):
    """kubectl exited with another status than 0; the text is its stderr."""


class ControlPlane:
    """One control plane.

    To be used by one thread, which must live as long: Linux ends the programs with the thread that started them.

    :param folder: where all it writes goes; is made, and must not hold another.
    :param detached: whether the programs outlive this process.
    """

    def __init__(self, folder: Path, *, detached: bool = False) -> None:
        self.folder = folder.absolute()
        self._bin = binaries()
        self._detached = detached
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.folder.mkdir(mode=0o700, parents=True)
        authority, front = Authority(self.folder, "ca"), Authority(self.folder, "front-proxy-ca")
        self.ca_file = authority.file
        """Of the authority that the API server's certificate and the clients' come from."""
        self._front_ca = front.file
        self._server = authority.server("kube-apiserver", LOOPBACK, "10.96.0.1")
        self._front = front.client("front-proxy")
        self.admin = authority.client("admin", "system:masters")
        """The certificate of a user who may do everything."""
        self._tokens = signing_key(self.folder)
        self._ports = {name: _reserve() for name in ("etcd", "kube-apiserver")}
        self.url = f"https://{LOOPBACK}:{self._port('kube-apiserver')}"
        self.api = PlainApi(self.url, self.ca_file, self.admin)
        self.admin_kubeconfig = self.kubeconfig("default")

    def kubeconfig(self, namespace: str) -> Path:
        """Return a kubeconfig file of the admin, whose commands are about that namespace by default."""
        path = self.folder / f"kubeconfig-{namespace}.json"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(json.dumps(_kubeconfig(self.url, self.ca_file, self.admin, namespace)))
        return path

    def kubectl(
        self,
        *arguments: str,
        input: str | None = None,  # noqa: A002  # as subprocess has it
        namespace: str = "default",
    ) -> str:
        """Return what kubectl prints.

        :param input: what it reads from stdin.
        :raises KubectlFailed: its exit status is not 0.
        """
        environment = {
            "HOME": str(self.folder),  # where it keeps what it knows of the server
            "PATH": os.environ["PATH"],
            "KUBECONFIG": str(self.kubeconfig(namespace)),
        }
        command = [str(self._bin / "kubectl"), *arguments]
        done = subprocess.run(command, input=input, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise KubectlFailed(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def start(self) -> None:
        """Start everything and wait until the API server is ready.

        :raises ControlPlaneFailed: it does not get so.
        """
        try:
            self._start("etcd", _etcd_options(self.folder, self._port("etcd")))
            self.start_api()
            self._start("kube-controller-manager", self._controller_options())
        except ControlPlaneFailed:
            self.stop()
            raise

    def start_api(self) -> None:
        """Start the API server alone, on the port it had, and wait until it is ready.

        :raises ControlPlaneFailed: it does not get so.
        """
        self.spawn_api()
        self._wait("kube-apiserver", self.is_ready)

    def spawn_api(self) -> None:
        """Start the API server alone and wait for nothing: see :meth:`is_ready`."""
        self._start("kube-apiserver", self._api_options())

    def stop_api(self) -> None:
        """Kill the API server: its connections break, and its port refuses new ones."""
        self._end("kube-apiserver")

    def restart_api(self) -> None:
        """Kill the API server, start it anew and wait until it is ready."""
        self.stop_api()
        self.start_api()

    def is_ready(self) -> bool:
        """Say whether the API server answers that it is ready."""
        try:
            return self.api.ask("GET", "/readyz", timeout=2.0)[0] == 200
        except OSError:
            return False

    def pids(self) -> dict[str, int]:
        """Return the process ids of what runs, by the program's name."""
        return {name: process.pid for name, process in self._processes.items()}

    def stop(self) -> None:
        """Kill everything; the state is of no use to anybody, so nothing is asked to save it."""
        for name in reversed(list(self._processes)):
            self._end(name)
        for port in self._ports.values():
            port.close()

    def _port(self, name: str) -> int:
        number: int = self._ports[name].getsockname()[1]
        return number

    def _start(self, name: str, options: Sequence[str]) -> None:
        # From util-linux. The signal reaches the program when this process ends, however that comes about.
        tied = [] if self._detached else ["setpriv", "--pdeathsig", "KILL"]
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [*tied, self._bin / name, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )

    def _end(self, name: str) -> None:
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def _wait(self, name: str, fact: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not fact():
            for each, process in self._processes.items():
                if process.poll() is not None:
                    raise ControlPlaneFailed(f"{each} ended with status {process.returncode}: {self._last_words(each)}")
            if time.monotonic() > deadline:
                raise ControlPlaneFailed(f"{name} is not ready after {START_TIMEOUT:.0f} s: {self._last_words(name)}")
            time.sleep(0.05)

    def _last_words(self, name: str) -> str:
        lines = (self.folder / f"{name}.log").read_text(errors="replace").splitlines()
        return lines[-1] if lines else "it said nothing"

    def _api_options(self) -> list[str]:
        return [
            f"--etcd-servers=http://{LOOPBACK}:{self._port('etcd')}",
            f"--bind-address={LOOPBACK}",
            f"--secure-port={self._port('kube-apiserver')}",
            "--permit-port-sharing=true",  # with our reservation
            "--advertise-address=192.0.2.1",  # nobody is told it, but there must be one, and no loopback one
            "--endpoint-reconciler-type=none",
            f"--tls-cert-file={self._server.certificate}",
            f"--tls-private-key-file={self._server.key}",
            f"--client-ca-file={self.ca_file}",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={self._tokens.certificate}",
            f"--service-account-signing-key-file={self._tokens.key}",
            "--allow-privileged=true",
            "--enable-aggregator-routing=true",  # webhooks are reached at their endpoints: no kube-proxy is here
            f"--requestheader-client-ca-file={self._front_ca}",
            *REQUEST_HEADERS,
            f"--proxy-client-cert-file={self._front.certificate}",
            f"--proxy-client-key-file={self._front.key}",
        ]

    def _controller_options(self) -> list[str]:
        return [
            f"--kubeconfig={self.admin_kubeconfig}",
            f"--service-account-private-key-file={self._tokens.key}",
            f"--root-ca-file={self.ca_file}",
            "--leader-elect=false",
            "--secure-port=0",
            "--kube-api-qps=1000",
            "--kube-api-burst=2000",
            f"--controllers={','.join(f'{name}-controller' for name in CONTROLLERS)}",
        ]


@functools.cache
def _own() -> ControlPlane | Exception:
    """Start the control plane of this process, once; a failure is as lasting as a success."""
    folder = Path(f"control-plane-{os.getpid()}").absolute()
    try:
        plane = ControlPlane(folder)
        plane.start()
    except (NoBinaries, ControlPlaneFailed) as error:
        return error
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(plane.stop)  # runs before the line above
    return plane


def control_plane() -> ControlPlane:
    """Return the control plane of this process; starts it in the current folder at the first call.

    :raises NoBinaries: there is nothing to start, here.
    :raises ControlPlaneFailed: it did not start.
    """
    own = _own()
    if isinstance(own, Exception):
        raise own
    return own


def _reserve() -> socket.socket:
    """Return a socket that keeps a free port from everybody but a program of ours that shares it.

    It is bound and never listens, so who connects is refused while that program is away.
    """
    reservation = socket.socket()
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reservation.bind((LOOPBACK, 0))
    return reservation


def _etcd_options(folder: Path, port: int) -> list[str]:
    return [
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls=http://{LOOPBACK}:{port}",
        f"--advertise-client-urls=http://{LOOPBACK}:{port}",
        f"--listen-peer-urls=http://{LOOPBACK}:0",
        "--socket-reuse-port=true",  # with our reservation
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def _kubeconfig(url: str, ca: Path, admin: Pair, namespace: str) -> dict[str, object]:
    """Return a kubeconfig; as JSON it is YAML too."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority": str(ca)}}],
        "users": [
            {
                "name": "admin",
                "user": {"client-certificate": str(admin.certificate), "client-key": str(admin.key)},
            }
        ],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin", "namespace": namespace}}],
        "current-context": "test",
    }
