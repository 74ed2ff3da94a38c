"""The programs of a Kubernetes control plane, built from their Go modules and kept in the user's cache.

    python -m tests.kube.binaries

builds what is missing (minutes, once for each state of ``cluster/go.mod``) and prints the folder. Kubernetes comes as
Go modules only; etcd and kubectl are built beside it, so that all four are of the versions which belong together.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

MODULE = Path(__file__).parent / "cluster"
"""The Go module that names the versions."""

PACKAGES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
}
"""The program's name, and the Go package that it is built from."""

_BUILT_AS = {"etcd": "server"}
"""Go names a program after the last part of its package's path that is no version."""


class NoBinaries(Exception):
    """There are no programs to start, and none can be built here; says why."""


def binaries() -> Path:
    """Return the folder of the four programs; builds them if they are not there.

    :raises NoBinaries: there is no Go, or the build failed.
    """
    folder = _folder()
    if _complete(folder):
        return folder
    if shutil.which("go") is None:
        raise NoBinaries("Kubernetes is not built, and there is no Go to build it with; install Go 1.21 or newer")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # who waited here finds it built
        if not _complete(folder):
            _build(folder)
    return folder


def built() -> bool:
    """Say whether the programs are there."""
    return _complete(_folder())


def version() -> str:
    """Return the version of Kubernetes that go.mod names, as ``v1.36.3``."""
    found = re.search(r"^\s*k8s\.io/kubernetes (v[\d.]+)", (MODULE / "go.mod").read_text(), re.MULTILINE)
    assert found, "cluster/go.mod does not require k8s.io/kubernetes"
    return found[1]


def _folder() -> Path:
    digest = hashlib.sha256(b"".join((MODULE / name).read_bytes() for name in ("go.mod", "go.sum")))
    cache = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(cache) / "meshtx" / "kube" / digest.hexdigest()[:16]


def _complete(folder: Path) -> bool:
    return all((folder / name).is_file() for name in PACKAGES)


def _build(folder: Path) -> None:
    print(f"Building Kubernetes {version()} into {folder}; this takes minutes, once", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="building-", dir=folder.parent) as name:
        made = Path(name) / "bin"
        # The toolchain that go.mod names may be fetched, which Debian's Go does not do by itself.
        environment = {"GOTOOLCHAIN": "auto", **os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -trimpath"}
        command = ["go", "build", "-o", f"{made}/", "-tags", "grpcnotrace,notest", "-ldflags", _stamp()]
        done = subprocess.run(
            [*command, *PACKAGES.values()], cwd=MODULE, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise NoBinaries(f"Kubernetes does not build: {' '.join(done.stderr.splitlines()[-3:])}")
        for program, built in _BUILT_AS.items():
            (made / built).rename(made / program)
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)  # all of it or nothing


def _stamp() -> str:
    """Return linker flags that say the version; the server would answer v0.0.0 to who asks for it."""
    major, minor, _ = version().removeprefix("v").split(".")
    facts = {"gitVersion": version(), "gitMajor": major, "gitMinor": minor}
    return "-s -w " + " ".join(f"-X k8s.io/component-base/version.{key}={value}" for key, value in facts.items())


if __name__ == "__main__":
    try:
        print(binaries())
    except NoBinaries as error:
        sys.exit(f"meshtx: {error}")
