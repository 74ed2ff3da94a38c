"""The whole cluster: made, asked, and ended."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.cache import cached
from tests.cluster.credentials import ADMIN, ClusterCredentials, make_cluster_credentials
from tests.cluster.daemons import NODE_NAME, URL, Daemons
from tests.cluster.failures import ClusterFailed
from tests.cluster.images import ImageCache, recipes
from tests.cluster.node import ADDRESS, Node
from tests.go_programs import NoPrograms
from tests.kube.binaries import NODE, PROGRAMS
from tests.kube.flags import KUBERNETES_ADDRESS

READY_WITHIN = 90.0
"""Seconds for each step of a start."""

COMMANDS = ("containerd", "runc", "buildah", "debootstrap", "iptables", "conntrack", "nsenter")
"""Programs of Debian, which `tools/system_packages.sh` installs."""

_DNS = Path(__file__).with_name("dns.yaml")


class Cluster:
    """One cluster.

    :param folder: where all it writes goes; it is found by that again.
    :raises ClusterFailed: its programs are not built, and cannot be.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.node = Node(self.folder, self.programs)
        self.admin_kubeconfig = self.folder / "credentials" / f"{ADMIN}.kubeconfig"
        """A file of the administrator's."""

    @functools.cached_property
    def programs(self) -> Path:
        """The folder of Kubernetes' programs, of the control plane and of the node.

        :raises ClusterFailed: they are not built, and cannot be.
        """
        try:
            folder = cached("cluster")
            folder.mkdir(parents=True, exist_ok=True)
            for each in (PROGRAMS, NODE):
                for path in each.folder().iterdir():
                    link = folder / path.name
                    link.unlink(missing_ok=True)
                    link.symlink_to(path)
        except NoPrograms as error:
            raise ClusterFailed(str(error)) from error
        return folder

    def start(self, *, detached: bool) -> None:
        """Make everything and wait until it works: pods run, and find Services by name.

        :param detached: whether it outlives this process; else it ends with the thread that started it.
        :raises ClusterFailed: it does not get so.
        """
        if missing := [command for command in COMMANDS if shutil.which(command) is None]:
            raise ClusterFailed(f"there is no {' '.join(missing)} here; try: tools/system_packages.sh python3 cluster")
        archives = ImageCache(cached("images")).archives(recipes(self.programs))
        try:
            self.node.start(detached=detached)
            credentials = self._make_credentials()
            self._start_daemons(Daemons(self.folder, credentials), archives)
            self.kubectl("apply", "-f", str(_DNS))
            self.kubectl("rollout", "status", "-n", "kube-system", "deployment/dns", f"--timeout={READY_WITHIN:.0f}s")
        except (ClusterFailed, OSError):
            self.node.stop()
            raise

    def stop(self) -> None:
        """End everything; nothing of it is left."""
        self.node.stop()

    def kubectl(self, *arguments: str, input: str | None = None) -> str:  # noqa: A002  # as subprocess has it
        """Return what kubectl prints for the administrator.

        :raises ClusterFailed: its exit status is not 0.
        """
        return self._as_admin("kubectl", *arguments, input=input)

    def meshtx(self, *arguments: str, input: str | None = None) -> str:  # noqa: A002  # likewise
        """Return what meshtx prints for the administrator.

        :raises ClusterFailed: its exit status is not 0.
        """
        return self._as_admin("meshtx", *arguments, input=input)

    def environment(self) -> dict[str, str]:
        """Return that of a command of the administrator's, who has kubectl and the meshtx of this Python."""
        path = f"{self.programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {**os.environ, "KUBECONFIG": str(self.admin_kubeconfig), "HOME": str(self.folder), "PATH": path}

    def _as_admin(self, *command: str, input: str | None) -> str:  # noqa: A002  # likewise
        done = subprocess.run(
            [*self.node.on_its_network(), *command],
            input=input,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ClusterFailed(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def _make_credentials(self) -> ClusterCredentials:
        addresses = (ADDRESS, KUBERNETES_ADDRESS, "127.0.0.1")
        return make_cluster_credentials(self.folder / "credentials", URL, NODE_NAME, *addresses)

    def _start_daemons(self, daemons: Daemons, archives: list[Path]) -> None:
        node = self.node
        node.daemon("etcd", *daemons.etcd())
        node.daemon("containerd", *daemons.containerd())
        node.daemon("kube-apiserver", *daemons.kube_apiserver())
        self._wait("containerd", lambda: node.run("ctr", "version"))
        for archive in archives:
            node.run("ctr", "-n", "k8s.io", "images", "import", "--no-unpack", str(archive))
        self._wait("kube-apiserver", lambda: self.kubectl("get", "--raw", "/readyz"))
        node.daemon("kube-controller-manager", *daemons.kube_controller_manager())
        node.daemon("kube-scheduler", *daemons.kube_scheduler())
        node.daemon("kubelet", *daemons.kubelet())
        node.daemon("kube-proxy", *daemons.kube_proxy())
        self._wait("kubelet", lambda: self.kubectl("get", "node", NODE_NAME))
        self.kubectl("wait", "--for=condition=Ready", f"node/{NODE_NAME}", f"--timeout={READY_WITHIN:.0f}s")

    def _wait(self, name: str, ask: Callable[[], object]) -> None:
        """Ask until there is an answer."""
        deadline = time.monotonic() + READY_WITHIN
        while True:
            try:
                ask()
            except ClusterFailed as error:
                if time.monotonic() > deadline:
                    raise ClusterFailed(f"{name} is not ready: {self.node.last_words(name)}") from error
                time.sleep(0.1)
            else:
                return
