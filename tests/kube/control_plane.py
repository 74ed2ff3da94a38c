"""A real Kubernetes control plane without nodes: etcd, kube-apiserver and kube-controller-manager.

    python -m tests.kube.control_plane up|down|env

The program keeps one in the folder ``.kube`` of this checkout until it is told ``down``; ``env`` prints what makes a
shell's kubectl use it. A test process has one of its own (:func:`control_plane`), which ends with it.

There is no kubelet, no scheduler and no network between pods: a Pod runs when a test says so in its status. What is
real: RBAC, admission (ServiceAccount, PodSecurity, LimitRanger, ResourceQuota, webhooks), tokens and their reviews,
aggregated APIs, and the controllers named in ``tests.kube.flags``.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from shlex import quote

from tests.kube.binaries import NoBinaries, binaries, version
from tests.kube.credentials import make_credentials
from tests.kube.flags import (
    AUDIT_POLICY,
    KUBERNETES_ADDRESS,
    LOOPBACK,
    api_server,
    controller_manager,
    etcd,
    kubeconfig,
)
from tests.kube.plain_api import Document, PlainApi

START_TIMEOUT = 60.0
"""Seconds until the API server must be ready; it takes less than three on two idle cores."""

ROOT = Path(__file__).resolve().parents[2]

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager")

USAGE = "python -m tests.kube.control_plane up|down|env"


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
        self._credentials = make_credentials(self.folder, LOOPBACK, KUBERNETES_ADDRESS)
        self.ca_file = self._credentials.ca
        """Of the authority that the API server's certificate and the clients' come from."""
        self.front_ca_file = self._credentials.front_ca
        """Of the authority that the API server's certificate comes from when it relays a user's request."""
        self.admin = self._credentials.admin
        """The certificate of a user who may do everything."""
        self._audit = self.folder / "audit.log"
        self._ports = {name: _reserve() for name in ("etcd", "kube-apiserver")}
        self.url = f"https://{LOOPBACK}:{self._port('kube-apiserver')}"
        self.api = PlainApi(self.url, self.ca_file, self.admin)
        self.admin_kubeconfig = self.kubeconfig("default")

    def kubeconfig(self, namespace: str) -> Path:
        """Return a kubeconfig file of the admin, whose commands are about that namespace by default."""
        path = self.folder / f"kubeconfig-{namespace}.json"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(json.dumps(kubeconfig(self.url, self._credentials, namespace)))
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
        """Start everything and wait until it works: pods can be made in the namespace ``default``.

        :raises ControlPlaneFailed: it does not get so.
        """
        try:
            self._start("etcd", etcd(self.folder, self._port("etcd")))
            self.start_api()
            self._wait("kube-controller-manager", self._has_accounts)
        except (ControlPlaneFailed, OSError):
            self.stop()
            raise

    def start_api(self) -> None:
        """Start the API server, on the port it had, wait until it is ready, and start the controllers.

        :raises ControlPlaneFailed: it does not get so.
        """
        self.spawn_api()
        self._wait("kube-apiserver", self.is_ready)
        self.spawn_controllers()

    def spawn_api(self) -> None:
        """Start the API server alone and wait for nothing: see :meth:`is_ready`."""
        policy = self.folder / "audit-policy.json"
        policy.write_text(json.dumps(AUDIT_POLICY))
        ports = self._port("kube-apiserver"), self._port("etcd")
        options = api_server(self._credentials, *ports, policy, self._audit)
        self._start("kube-apiserver", options)

    def spawn_controllers(self) -> None:
        """Start the controllers; the API server has to be ready."""
        self._start("kube-controller-manager", controller_manager(self._credentials, self.admin_kubeconfig))

    def stop_api(self) -> None:
        """Kill the API server: its connections break, and its port refuses new ones.

        The controllers end too, as in a cluster, where they have lost their lease; else their back-off, of up to a
        minute, would decide when the next API server is of use.
        """
        self._end("kube-controller-manager")
        self._end("kube-apiserver")

    def asked_by(self, namespace: str, account: str) -> list[Document]:
        """Return what the API server has written down of a ServiceAccount's requests (``audit.k8s.io/v1``)."""
        user = f"system:serviceaccount:{namespace}:{account}"
        *whole, _ = self._audit.read_text().split("\n")  # the last line may be written just now
        found = [json.loads(line) for line in whole if user in line]
        return [each for each in found if each["user"]["username"] == user]

    @property
    def api_runs(self) -> bool:
        """Whether the API server was started and not stopped since."""
        return "kube-apiserver" in self._processes

    def is_ready(self) -> bool:
        """Say whether the API server answers that it is ready."""
        try:
            return self.api.ask("GET", "/readyz", timeout=2.0)[0] == 200
        except OSError:
            return False

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
        if process := self._processes.pop(name, None):
            process.kill()
            process.wait()

    def _has_accounts(self) -> bool:
        return self.api.ask("GET", "/api/v1/namespaces/default/serviceaccounts/default")[0] == 200

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


class Kept:
    """The control plane that stays after its program ended.

    :param folder: where it is; the processes are found by it, so that none is missed and no other one is ended.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def up(self) -> str:
        """Start it unless it runs already; return what to tell the user."""
        hint = f'for kubectl: eval "$({sys.executable} -m tests.kube.control_plane env)"'
        if set(running(self._folder)) == set(PROGRAMS):
            return f"Kubernetes {version()} is up already; {hint}"
        self.down()
        started = time.monotonic()
        ControlPlane(self._folder, detached=True).start()
        return f"Kubernetes {version()} is up after {time.monotonic() - started:.1f} s; {hint}"

    def down(self) -> str:
        """End it and forget what it knew; return what to tell the user."""
        ours = running(self._folder)
        for pid in ours.values():
            os.kill(pid, signal.SIGKILL)
        while running(self._folder):
            time.sleep(0.01)
        if self._folder.exists():
            shutil.rmtree(self._folder)
        return f"ended {', '.join(sorted(ours))}" if ours else "nothing is up"

    def env(self) -> str:
        """Return what a shell evaluates to have kubectl speak to it.

        :raises ControlPlaneFailed: it is not up.
        """
        if not running(self._folder):
            raise ControlPlaneFailed("nothing is up; start it by: make kube-up")
        kubeconfig_file = quote(str(self._folder / "kubeconfig-default.json"))
        return f"export KUBECONFIG={kubeconfig_file} PATH={quote(str(binaries()))}:$PATH"


def running(folder: Path) -> dict[str, int]:
    """Return the process ids of the programs that were started in a folder, by name."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended just now
        program = Path(command.partition("\0")[0]).name
        if program in PROGRAMS and f"{folder}/" in command:
            found[program] = int(process.name)
    return found


def main(arguments: Sequence[str], folder: Path = ROOT / ".kube") -> int:
    """Do what is asked and return the exit status."""
    kept = Kept(folder.absolute())
    commands = {"up": kept.up, "down": kept.down, "env": kept.env}
    if len(arguments) != 1 or arguments[0] not in commands:
        print(f"usage: {USAGE}", file=sys.stderr)
        return 2
    try:
        print(commands[arguments[0]]())
    except (NoBinaries, ControlPlaneFailed, OSError) as error:
        print(f"meshtx: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
