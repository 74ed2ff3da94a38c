"""The images of a cluster, made of Debian packages and PyPI alone, and kept in the user's cache.

The base stands in for the official Python image, which comes from a registry: the same names in the same places. What
an image is made of names its archive; another state is another archive.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from meshtx import __version__
from tests.cluster.failures import ClusterFailed
from tools.fresh import make_system
from tools.mutants import copy_tree

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent

SUITE = "trixie"
PYTHON = "python3.13"
BASE = "docker.io/library/python:3.13-slim-trixie"
"""The image that the Dockerfile names."""

MESHTX = f"docker.io/library/meshtx:{__version__}"
"""What `meshtx install` names, as containerd spells it."""

APP = "localhost/app:1"
"""The demo's services, the programs of `tests.cluster`, in ``/app`` and ``/programs``, and Debian's nginx."""

_APP_RECIPE = f"""\
FROM {BASE}
RUN apt-get update -q && apt-get install -q -y --no-install-recommends nginx-light openssl \\
    && rm -rf /var/lib/apt/lists/*
RUN python -m pip install -q --root-user-action=ignore --no-cache-dir 'grpcio>=1.85,<2' 'protobuf>=7.35.1,<8'
COPY app /app
COPY programs /programs
WORKDIR /app
"""
_PROGRAM_RECIPE = 'FROM scratch\nCOPY {0} /{0}\nENTRYPOINT ["/{0}"]\n'


@dataclass(frozen=True)
class Recipe:
    """How an image is made.

    :param name: that the cluster calls it by.
    :param dockerfile: its text.
    :param sources: files and folders of the context, by their names there.
    """

    name: str
    dockerfile: str
    sources: dict[str, Path]

    @property
    def digest(self) -> str:
        """Of all that the image is made of."""
        digest = hashlib.sha256(self.dockerfile.encode())
        for name, source in sorted(self.sources.items()):
            for path in sorted(_files(source)):
                digest.update(f"{name}/{path.relative_to(source)}\0".encode() + path.read_bytes())
        return digest.hexdigest()[:16]

    def lay_out(self, folder: Path) -> None:
        """Put the context into a folder."""
        (folder / "Dockerfile").write_text(self.dockerfile)
        for name, source in self.sources.items():
            if source.is_dir():
                copy_tree(source, folder / name)
            else:
                shutil.copy(source, folder / name)


def recipes(programs: Path) -> list[Recipe]:
    """Return those of every image but the base.

    :param programs: the folder of ``dns`` and ``pause``.
    """
    packaged = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "meshtx", "twisted")
    return [
        Recipe("localhost/pause:1", _PROGRAM_RECIPE.format("pause"), {"pause": programs / "pause"}),
        Recipe("localhost/dns:1", _PROGRAM_RECIPE.format("dns"), {"dns": programs / "dns"}),
        Recipe(APP, _APP_RECIPE, {"app": ROOT / "examples" / "emojivoto", "programs": HERE / "programs"}),
        Recipe(MESHTX, (ROOT / "Dockerfile").read_text(), {name: ROOT / name for name in packaged}),
    ]


class ImageCache:
    """The images that were made so far.

    :param folder: where they are, and what buildah works with.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._buildah = ["buildah", "--root", str(folder / "storage"), "--runroot", str(folder / "run")]

    def archives(self, wanted: Sequence[Recipe]) -> list[Path]:
        """Return an archive of each image; makes those that are not there.

        :raises ClusterFailed: one cannot be made.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return [self._archive(recipe) for recipe in wanted]

    def _archive(self, recipe: Recipe) -> Path:
        short = recipe.name.rpartition("/")[2].partition(":")[0]
        archive = self._folder / f"{short}-{recipe.digest}.tar"
        if archive.exists():
            return archive
        if BASE in recipe.dockerfile or "${PYTHON}" in recipe.dockerfile:
            self._make_base()
        with tempfile.TemporaryDirectory(dir=self._folder) as context:
            recipe.lay_out(Path(context))
            options = ("--layers", "--isolation", "chroot", "--pull-never", "--network", "host")
            self._run(*self._buildah, "bud", *options, "--tag", recipe.name, context)
            made = Path(context, "made.tar")
            self._run(*self._buildah, "push", recipe.name, f"docker-archive:{made}:{recipe.name}")
            for older in self._folder.glob(f"{short}-*.tar"):
                older.unlink()
            made.rename(archive)
        return archive

    def _make_base(self) -> None:
        if self._is_there(BASE):
            return
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            system = Path(name, "base")
            make_system(system, SUITE, ("ca-certificates", "python3", "python3-pip", "python3-venv"))
            (system / "usr/local/bin/python").symlink_to(f"/usr/bin/{PYTHON}")
            next(system.glob("usr/lib/python3*/EXTERNALLY-MANAGED")).unlink()
            enter = ("chroot", system)
            # pip where the official image has it, so that the Dockerfile can remove it
            self._run(*enter, "pip", "install", "-q", "--root-user-action=ignore", "--ignore-installed", "pip")
            self._run(*enter, "dpkg", "--purge", "--force-depends", "python3-pip", "python3-wheel")
            self._run(*enter, "apt-get", "clean")
            container = self._run(*self._buildah, "from", "scratch").strip()
            self._run(*self._buildah, "add", container, system, "/")
            self._run(*self._buildah, "config", "--cmd", "python", container)
            self._run(*self._buildah, "commit", "--rm", container, BASE)

    def _is_there(self, image: str) -> bool:
        command = [*self._buildah, "inspect", "--type", "image", image]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def _run(self, *command: str | Path) -> str:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            words = " ".join((done.stdout + done.stderr).splitlines()[-3:])
            raise ClusterFailed(f"{' '.join(map(str, command))} failed: {words}")
        return done.stdout


def _files(source: Path) -> Iterator[Path]:
    """Yield what of a source goes into an image: no caches."""
    if source.is_file():
        yield source
        return
    for path in source.rglob("*"):
        if path.is_file() and path.suffix != ".pyc" and path.name != "dropin.cache":
            yield path
