"""The base of all tales: one cluster with the mesh in it, started at the first of them."""

from __future__ import annotations

import atexit
import functools
import itertools
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.cluster.cluster import Cluster
from tests.cluster.failures import ClusterFailed
from tests.cluster.objects import Document, namespace

TIMEOUT = 600
"""Seconds of a tale."""

READY_WITHIN = "180s"

_numbers = itertools.count(1)


@functools.cache
def _started() -> Cluster | ClusterFailed:
    """Start the cluster of this process and install the mesh, once; a failure is as lasting as a success."""
    # Not in trial's folder: what containerd keeps there cannot lie on an overlay.
    folder = Path(tempfile.mkdtemp(prefix="meshtx-cluster-", dir="/var/tmp"))
    atexit.register(folder.rmdir)
    try:
        cluster = Cluster(folder / "node")
        atexit.register(cluster.stop)  # runs before the line above
        started = time.monotonic()
        cluster.start(detached=False)
        up = time.monotonic()
        install_mesh(cluster)
        print(f"\nKubernetes is up after {up - started:.1f} s, and the mesh after {time.monotonic() - up:.1f} more")
    except ClusterFailed as error:
        return error
    return cluster


def install_mesh(cluster: Cluster) -> None:
    """Install it as docs/kubernetes.md says, and wait until `meshtx check` finds nothing wrong."""
    manifests = cluster.meshtx("install", "--ca-folder", str(cluster.folder / "mesh"))
    cluster.kubectl("apply", "-f", "-", input=manifests)
    cluster.kubectl("rollout", "status", "deployment", "-n", "meshtx", f"--timeout={READY_WITHIN}")
    cluster.meshtx("check", "--wait", "2m")


class ClusterCase(SynchronousTestCase):
    """A test in the cluster; its namespaces go after it."""

    timeout = TIMEOUT

    def setUp(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can make a node")
        cluster = _started()
        if isinstance(cluster, ClusterFailed):
            raise cluster
        self.cluster = cluster

    def namespace(self, **settings: str) -> str:
        """Return the name of a new namespace, whose pods are meshed.

        :param settings: the mesh's annotations, without ``config.meshtx.io/``.
        """
        name = f"tale-{next(_numbers)}"
        self.apply(namespace(name, {f"config.meshtx.io/{key}": value for key, value in settings.items()}))
        self.addCleanup(self.cluster.kubectl, "delete", "namespace", name, "--wait=false")
        return name

    def apply(self, *documents: Document) -> None:
        """Apply objects."""
        listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)})
        self.cluster.kubectl("apply", "-f", "-", input=listed)

    def wait_for_rollout(self, space: str, *names: str) -> None:
        """Wait until these Deployments, or all of the namespace, have all their pods."""
        wanted = [f"deployment/{name}" for name in names] or ["deployment"]
        try:
            self.cluster.kubectl("rollout", "status", "-n", space, *wanted, f"--timeout={READY_WITHIN}")
        except ClusterFailed as error:
            pods = self.cluster.kubectl("get", "pods", "-n", space)
            events = self.cluster.kubectl("get", "events", "-n", space, "--field-selector", "type=Warning")
            raise AssertionError(f"{error}\n{pods}\n{events}") from None

    def start_program(self, space: str, target: str, *command: str) -> subprocess.Popen[str]:
        """Start a command in the application's container, whose input ends as its output is read, later."""
        kubectl = ["kubectl", "exec", "-i", "-n", space, target, "-c", "app", "--", *command]
        process = subprocess.Popen(
            [*self.cluster.node.on_its_network(), *kubectl],
            env=self.cluster.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def tap(self, target: str, space: str, seconds: float, *options: str) -> list[str]:
        """Return the lines of requests that `meshtx tap` prints within so many seconds."""
        command: Sequence[str] = ["meshtx", "tap", target, "--namespace", space, *options]
        process = subprocess.run(
            ["timeout", "--signal=INT", str(seconds), *self.cluster.node.on_its_network(), *command],
            env=self.cluster.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        lines = [line for line in process.stdout.splitlines() if " req " in f" {line} "]
        self.assertTrue(lines, process.stdout + process.stderr)
        return lines

    def get(self, space: str, *what: str) -> Any:
        """Return objects as ``kubectl get`` has them."""
        return json.loads(self.cluster.kubectl("get", "-n", space, *what, "-o", "json"))
