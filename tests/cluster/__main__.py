"""Start a cluster that stays, end it, run commands of its administrator's, as `kubectl` and `meshtx`, and measure.

python -m tests.cluster up | down | mesh | starts | run COMMAND...
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from tests.cluster.case import install_mesh
from tests.cluster.cluster import Cluster
from tests.cluster.failures import ClusterFailed
from tests.cluster.starts import measure
from tests.kube.binaries import version

USAGE = "python -m tests.cluster up | down | mesh | starts | run COMMAND..."
FOLDER = Path(__file__).resolve().parents[2] / ".cluster"


def up(cluster: Cluster) -> str:
    """Start it, in place of one that is there; return what to tell the user."""
    cluster.stop()
    started = time.monotonic()
    cluster.start(detached=True)
    hint = f"{sys.executable} -m {__package__} run kubectl get pods -A"
    return f"Kubernetes {version()} is up after {time.monotonic() - started:.1f} s; to use it: {hint}"


def down(cluster: Cluster) -> str:
    """End it; return what to tell the user."""
    cluster.stop()
    return "nothing is left of the cluster"


def mesh(cluster: Cluster) -> str:
    """Install the mesh; return what to tell the user."""
    install_mesh(cluster)
    return "the mesh is installed, and meshtx check finds nothing wrong"


def run(cluster: Cluster, command: Sequence[str]) -> NoReturn:
    """Become a command of the administrator's, on the node's network.

    :raises ClusterFailed: nothing is up.
    """
    if not cluster.node.is_up:
        raise ClusterFailed("nothing is up; start it by: make cluster")
    argv = [*cluster.node.on_its_network(), *command]
    os.execvpe(argv[0], argv, cluster.environment())


def main(arguments: Sequence[str]) -> int:
    """Do what is asked and return the exit status."""
    commands = {("up",): up, ("down",): down, ("mesh",): mesh, ("starts",): measure}
    wanted = commands.get(tuple(arguments))
    if wanted is None and arguments[:1] != ["run"]:
        print(f"usage: {USAGE}", file=sys.stderr)
        return 2
    if os.geteuid() != 0:
        print("meshtx: only root can make a node", file=sys.stderr)
        return 2
    try:
        cluster = Cluster(FOLDER)
        if wanted is None:
            run(cluster, arguments[1:])
        print(wanted(cluster))
    except (ClusterFailed, OSError) as error:
        print(f"meshtx: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
