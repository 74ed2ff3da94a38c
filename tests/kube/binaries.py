"""The programs of a Kubernetes control plane, and of a node, built from their Go modules and kept in the user's cache.

    python -m tests.kube.binaries

builds what is missing (minutes, once for each state of ``cluster/go.mod``) and prints the folder. Kubernetes comes as
Go modules only; etcd and kubectl are built beside it, so that all are of the versions which belong together.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tests.go_programs import GoPrograms, NoPrograms

MODULE = Path(__file__).parent / "cluster"
"""The Go module that names the versions."""

NoBinaries = NoPrograms


def version() -> str:
    """Return the version of Kubernetes that go.mod names, as ``v1.36.3``."""
    found = re.search(r"^\s*k8s\.io/kubernetes (v[\d.]+)", (MODULE / "go.mod").read_text(), re.MULTILINE)
    assert found, "cluster/go.mod does not require k8s.io/kubernetes"
    return found[1]


def _options() -> list[str]:
    """Return flags that say the version; the server would answer v0.0.0 to who asks for it."""
    major, minor, _ = version().removeprefix("v").split(".")
    facts = {"gitVersion": version(), "gitMajor": major, "gitMinor": minor}
    stamp = " ".join(f"-X k8s.io/component-base/version.{key}={value}" for key, value in facts.items())
    return ["-tags", "grpcnotrace,notest", "-ldflags", f"-s -w {stamp}"]


PROGRAMS = GoPrograms(
    "Kubernetes",
    MODULE,
    "kube",
    {
        "etcd": "go.etcd.io/etcd/server/v3",
        "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
        "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
        "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    },
    built_as={"etcd": "server"},
    options=_options,
)

NODE = GoPrograms(
    "Kubernetes' node",
    MODULE,
    "kube-node",
    {
        "kubelet": "k8s.io/kubernetes/cmd/kubelet",
        "kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy",
        "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
        "dns": "./dns",
        "pause": "./pause",
    },
    options=_options,
)
"""What `tests.cluster` needs beside them."""

binaries = PROGRAMS.folder
built = PROGRAMS.built

if __name__ == "__main__":
    try:
        print(binaries())
    except NoBinaries as error:
        sys.exit(f"meshtx: {error}")
