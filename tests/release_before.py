"""The release before this one: its wheel in a virtual environment of its own, kept in the user's cache.

    python -m tests.release_before

makes it if it is not there (half a minute) and prints its Python. ``release_before.txt`` names the release by its tag,
or by its commit while there is no tag; whoever releases writes down what has been released.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tarfile
import venv
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import SkipTest

from tests.cache import cached

ROOT = Path(__file__).parent.parent
RELEASE = Path(__file__).with_suffix(".txt").read_text().strip()


class NoRelease(Exception):
    """It is not there, and cannot be made here; says why, and what to do."""


class NotInThisClone(NoRelease, SkipTest):
    """This is no clone that has the release, so whatever needs it is left out, and says so."""


def python() -> Path:
    """Return the Python that imports the release before, given ``-I``; installs it if it is not there.

    :raises NotInThisClone: this is no clone that has it.
    :raises NoRelease: pip failed.
    """
    folder = cached("releases", f"{RELEASE[:16]}-{sys.implementation.cache_tag}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # whoever waited here finds it installed
        if not _complete(folder).is_file():
            shutil.rmtree(folder, ignore_errors=True)
            _install(folder)
            _complete(folder).touch()
    return folder / "bin" / "python"


def _complete(folder: Path) -> Path:
    return folder / "complete"


def _install(folder: Path) -> None:
    print(f"Installing the release before into {folder}", file=sys.stderr, flush=True)
    with TemporaryDirectory(prefix="building-", dir=folder.parent) as name:
        source, wheels = Path(name, "source"), Path(name, "wheels")
        with tarfile.open(fileobj=BytesIO(_archive())) as archive:
            archive.extractall(source, filter="data")
        _pip(sys.executable, "wheel", "--no-deps", "--no-build-isolation", "-w", wheels, source)
        (wheel,) = wheels.glob("meshtx-*.whl")
        venv.create(folder, with_pip=True)
        _pip(folder / "bin" / "python", "install", f"{wheel}[kubernetes]")


def _archive() -> bytes:
    done = subprocess.run(["git", "archive", RELEASE], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode().strip()
        raise NotInThisClone(
            f"no clone with {RELEASE}, the release before ({said}); run 'git fetch --unshallow --tags'"
        )
    return done.stdout


def _pip(python: Path | str, *arguments: Path | str) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COVERAGE"))}
    command = [str(each) for each in (python, "-m", "pip", "-q", "--disable-pip-version-check", *arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoRelease(f"{' '.join(command)} failed: {done.stderr.strip()}")


if __name__ == "__main__":
    try:
        print(python())
    except NoRelease as error:
        sys.exit(f"meshtx: {error}")
