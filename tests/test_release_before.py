"""Which release the tests take for the one before, and what they say where it cannot be had."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests import release_before
from tests.release_before import NoRelease


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=release_before.ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


class ReleaseBeforeTests(SynchronousTestCase):
    def test_it_is_the_newest_tag_once_there_is_one(self) -> None:
        newest = git("describe", "--tags", "--abbrev=0", "HEAD^")
        self.assertIn(newest, {"", release_before.RELEASE}, f"write {newest} into tests/release_before.txt")

    def test_it_imports_nothing_of_this_checkout(self) -> None:
        python = release_before.python()
        command = [python, "-I", "-c", "import meshtx; print(meshtx.__file__)"]
        environment = {**os.environ, "PYTHONPATH": str(release_before.ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        self.assertTrue(Path(done.stdout).is_relative_to(python.parent.parent), done.stdout)

    def test_a_clone_without_it_is_told_what_to_fetch(self) -> None:
        self.patch(release_before, "RELEASE", "0" * 40)
        self.patch(os, "environ", {**os.environ, "XDG_CACHE_HOME": self.mktemp()})
        error = self.assertRaises(NoRelease, release_before.python)
        self.assertIn("run 'git fetch --unshallow --tags'", str(error))
