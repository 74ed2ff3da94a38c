"""Remove one mechanism at a time and see that its test notices.

    python -m tools.mutants [PATCH ...]

Each patch in tests/mutants/ begins with

    The proxy believes any name.                        what is removed, in one line
    Kills: tests.net.test_tls.TestNames.test_wrong_name the test that must fail with it

and is applied to a copy of the tree, never to the checkout. The tests must pass without their
patches. The exit status is 0 if every mutant was killed.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PATCHES = ROOT / "tests" / "mutants"
WORKERS = 2
TIMEOUT = 60
"""Seconds that one test may take; a mutant that hangs is dead."""

_NOT_COPIED = shutil.ignore_patterns(
    ".git",
    ".venv",
    ".tox",
    ".stamps",
    ".kube",
    ".hypothesis",
    ".*_cache",
    "__pycache__",
    "_trial_temp*",
    "*.egg-info",
    "build",
    "dist",
)
_RUN = shutil.ignore_patterns("_trial_temp*")
_PATCHED = re.compile(r"^\+\+\+ b/(?:(\S+)/)?([^/\s]+)\.py$", re.MULTILINE)
_MARK = "Kills:"
_NO_TEST = (
    "ModuleNotFoundError",
    "ImportError",
    "SyntaxError",
    "builtins.NameError",
    "ObjectNotFound",
    "NoModuleNamed",
)
"""What a patch causes that breaks the source instead of removing something from it."""


class BadPatch(Exception):
    """A patch cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One patch."""

    path: Path
    removes: str
    test: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a mutant fared: what the table says, and whether that is as it should be."""

    mutant: Mutant
    verdict: str
    good: bool


def read(path: Path) -> Mutant:
    """Return what a patch says of itself.

    :raises BadPatch: it does not say it.
    """
    head = path.read_text("utf-8").partition("\n--- ")[0].splitlines()
    tests = [line.removeprefix(_MARK).strip() for line in head if line.startswith(_MARK)]
    if len(tests) != 1 or not head or head[0].startswith(_MARK):
        raise BadPatch(f"{path.name}: begins with a sentence and one line 'Kills: TEST'")
    return Mutant(path, head[0].strip(), tests[0])


def copy_tree(root: Path, to: Path) -> Path:
    """Copy the tree, without what was made from it, and return the copy."""
    return Path(shutil.copytree(root, to, ignore=_NOT_COPIED, symlinks=True))


def apply(patch: Path, tree: Path) -> None:
    """Patch a copy of the tree.

    :raises BadPatch: the patch does not fit the tree.
    """
    # Outside any repository git takes the paths as they are; one above the copy must not be found.
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tree.parent)}
    command = ["git", "apply", "--whitespace=nowarn", str(patch)]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BadPatch(f"does not apply: {done.stderr.strip().splitlines()[-1]}")


def forget_compiled(patch: Path, tree: Path) -> None:
    """Remove what Python has compiled of the modules that a patch changes, however little it changes."""
    for folder, module in _PATCHED.findall(patch.read_text("utf-8")):
        for compiled in (tree / folder / "__pycache__").glob(f"{module}.*.pyc"):
            compiled.unlink()


def passes(tree: Path, tests: Sequence[str]) -> tuple[bool, str]:
    """Run tests in a tree and return whether they all passed, and what was printed."""
    # Processes that a test starts elsewhere must find the copy before the checkout.
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-m", "twisted.trial", *tests]
    with subprocess.Popen(
        command, cwd=tree, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0
    ) as process:
        try:
            output, _ = process.communicate(timeout=TIMEOUT * len(tests))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return False, "timeout"
    return process.returncode == 0, output


def attempt(mutant: Mutant, folder: Path, whole: Path) -> Outcome:
    """Apply a mutant to a copy of its own and let its test judge.

    :param whole: the tree in which the tests have passed.
    """
    tree = folder / mutant.path.stem
    shutil.copytree(whole, tree, ignore=_RUN, symlinks=True, copy_function=os.link)  # git writes files anew
    try:
        apply(mutant.path, tree)
    except BadPatch as error:
        return Outcome(mutant, str(error), good=False)
    forget_compiled(mutant.path, tree)
    passed, output = passes(tree, [mutant.test])
    shutil.rmtree(tree)
    if passed:
        return Outcome(mutant, "SURVIVED", good=False)
    if broken := next((word for word in _NO_TEST if word in output), None):
        return Outcome(mutant, f"no test ran: {broken}", good=False)
    return Outcome(mutant, "killed", good=True)


def main(names: Sequence[str], root: Path = ROOT) -> int:
    """Try the mutants, print a table, return the exit status."""
    mutants = [read(path) for path in ([Path(name).resolve() for name in names] or sorted(PATCHES.glob("*.patch")))]
    with tempfile.TemporaryDirectory(prefix="meshtx-mutants-") as name:
        folder = Path(name)
        whole = copy_tree(root, folder / "unpatched")
        passed, output = passes(whole, sorted({mutant.test for mutant in mutants}))
        if not passed:
            print(output)
            print("The tests fail without a mutant: nothing can be said of one.")
            return 1
        with ThreadPoolExecutor(WORKERS) as pool:
            outcomes = list(pool.map(lambda mutant: attempt(mutant, folder, whole), mutants))
    width = max(len(outcome.mutant.path.stem) for outcome in outcomes)
    for outcome in outcomes:
        print(f"{outcome.mutant.path.stem:{width}}  {outcome.verdict:8}  {outcome.mutant.removes}")
        print(f"{'':{width}}            {outcome.mutant.test}")
    killed = sum(outcome.good for outcome in outcomes)
    print(f"{killed} killed, {len(outcomes) - killed} not")
    return int(killed < len(outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
