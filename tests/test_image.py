"""The container image's recipe, which is not built here: what a reader of it would insist on."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from meshtx import __version__
from meshtx.kube.manifests.values import Values
from meshtx.kube.sidecar import PROXY_UID

ROOT = Path(__file__).parent.parent

Instruction = tuple[str, str]
"""The word, and what it is about."""


def instructions(text: str) -> list[Instruction]:
    """Return what a Dockerfile says, without its comments, each on one line."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", "", lines)
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines()) if word]


class ImageTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.recipe = instructions((ROOT / "Dockerfile").read_text())

    def said(self, word: str) -> list[str]:
        return [rest for each, rest in self.recipe if each == word]

    def final(self) -> list[Instruction]:
        """Return the last stage, which is what is shipped."""
        start = max(place for place, (word, _) in enumerate(self.recipe) if word == "FROM")
        return self.recipe[start:]

    def test_the_linter_has_nothing_to_say(self) -> None:
        found = shutil.which("hadolint", path=Path(sys.executable).parent)
        if found is None:
            raise SkipTest("there is no hadolint for this machine")
        done = subprocess.run([found, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
        self.assertEqual((done.stdout, done.returncode), ("", 0))

    def test_every_base_is_a_release_that_stays_the_same_kind(self) -> None:
        (argument,) = self.said("ARG")
        name, tag = argument.split("=")
        self.assertRegex(tag, r"^3\.\d+-slim-\w+$")
        self.assertEqual({rest.split(" ")[0] for rest in self.said("FROM")}, {f"python:${{{name}}}"})

    def test_it_runs_as_the_sidecars_user(self) -> None:
        """A number, so that Kubernetes can see that it is not root."""
        users = [rest for word, rest in self.final() if word == "USER"]
        self.assertEqual(users, [f"{PROXY_UID}:{PROXY_UID}"])

    def test_the_redirects_tool_is_in_it(self) -> None:
        self.assertEqual([word for word, rest in self.final() if " nftables" in rest], ["RUN"])

    def test_nothing_comes_from_elsewhere_and_no_secret_is_in_it(self) -> None:
        self.assertEqual(self.said("ADD"), [])
        whole = (ROOT / "Dockerfile").read_text()
        self.assertNotRegex(whole, r"(?i)https?://|password|token|secret|\bcurl\b|\bwget\b")

    def test_what_is_copied_is_let_in_and_nothing_else_is(self) -> None:
        copied = {each for rest in self.said("COPY") if "--from" not in rest for each in rest.split(" ")[:-1]}
        first, *lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] != "#"]
        self.assertEqual(first, "*")
        self.assertEqual({line[1:] for line in lines if line.startswith("!")}, copied)

    def test_the_manifests_name_the_image_that_it_says_it_makes(self) -> None:
        self.assertIn(f"docker build -t {Values().image} .", (ROOT / "Dockerfile").read_text())
        self.assertEqual(Values().image, f"meshtx:{__version__}")
