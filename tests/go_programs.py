"""Programs built from Go modules for tests, and kept in the user's cache.

A folder with ``go.mod`` and ``go.sum`` names the versions, and may have sources of ours; another state of these is
another folder in the cache.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.cache import cached


class NoPrograms(Exception):
    """There are no programs to start, and none can be built here; says why."""


@dataclass(frozen=True)
class GoPrograms:
    """The programs of one Go module.

    :param name: what they are, for people.
    :param module: the folder of ``go.mod``.
    :param cache: where they are kept, below the cache's folder of meshtx.
    :param packages: each program's name, and the Go package that it is built from.
    :param built_as: programs that Go names otherwise, and how: after the last part of the package's path.
    :param options: returns more arguments of ``go build``.
    """

    name: str
    module: Path
    cache: str
    packages: Mapping[str, str]
    built_as: Mapping[str, str] = field(default_factory=dict)
    options: Callable[[], list[str]] = list

    def folder(self) -> Path:
        """Return the folder of the programs; builds them if they are not there.

        :raises NoPrograms: there is no Go, or the build failed.
        """
        folder = self._folder()
        if self._complete(folder):
            return folder
        if shutil.which("go") is None:
            raise NoPrograms(f"{self.name} is not built, and there is no Go to build it with; install Go 1.21 or newer")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # who waited here finds it built
            if not self._complete(folder):
                self._build(folder)
        return folder

    def built(self) -> bool:
        """Return whether the programs are there."""
        return self._complete(self._folder())

    def _folder(self) -> Path:
        sources = ["go.mod", "go.sum", *sorted(self.module.rglob("*.go"))]
        digest = hashlib.sha256(b"".join((self.module / name).read_bytes() for name in sources))
        return cached(self.cache, digest.hexdigest()[:16])

    def _complete(self, folder: Path) -> bool:
        return all((folder / name).is_file() for name in self.packages)

    def _build(self, folder: Path) -> None:
        print(f"Building {self.name} into {folder}; this may take minutes, once", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="building-", dir=folder.parent) as name:
            made = Path(name) / "bin"
            # The toolchain that go.mod names may be fetched, which Debian's Go does not do by itself.
            environment = {
                "GOTOOLCHAIN": "auto",
                **os.environ,
                "CGO_ENABLED": "0",
                "GOFLAGS": "-mod=readonly -trimpath",
            }
            command = ["go", "build", "-o", f"{made}/", *self.options(), *self.packages.values()]
            done = subprocess.run(
                command, cwd=self.module, env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise NoPrograms(f"{self.name} does not build: {' '.join(done.stderr.splitlines()[-3:])}")
            for program, built in self.built_as.items():
                (made / built).rename(made / program)
            shutil.rmtree(folder, ignore_errors=True)
            made.rename(folder)  # all of it or nothing
