"""Remove one mechanism at a time and see that its test notices.

    python -m tools.mutants [PATCH ...]

Each patch in tests/mutants/ begins with

    The proxy believes any name.                        what is removed, in one line
    Kills: tests.net.test_tls.TestNames.test_wrong_name the test that must fail with it

and is applied to a copy of the tree, never to the checkout. The tests must pass without their
patches. The exit status is 0 if every mutant was killed.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parent.parent
PATCHES = ROOT / "tests" / "mutants"
WORKERS = 2
TIMEOUT = 60
"""Seconds that one test may take; a mutant that hangs is dead."""

_NOT_COPIED = shutil.ignore_patterns(
    ".git",
    ".venv*",
    ".tox",
    ".stamps",
    ".cluster",
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

    :raises BadPatch: it does not say it, or cannot be read.
    """
    try:
        head = path.read_text("utf-8").partition("\n--- ")[0].splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadPatch(f"{path}: {error}") from error
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


class Trials:
    """Runs tests in one tree after another, by a process of `tools.preloaded`.

    :param output: a file for what is printed.
    """

    def __init__(self, output: Path) -> None:
        self._output = output
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        command = [sys.executable, "-m", "tools.preloaded"]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )

    def passes(self, tree: Path, tests: Sequence[str]) -> tuple[bool, str]:
        """Run tests in a tree and return whether they all passed, and what was printed."""
        self._output.unlink(missing_ok=True)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([str(tree), str(self._output), tests]).encode() + b"\n")
        group = self._answer(None)
        assert group is not None
        status = self._answer(TIMEOUT * len(tests))
        if status is None:
            os.killpg(group, signal.SIGKILL)
            self._answer(None)
            return False, "timeout"
        return status == 0, self._output.read_text("utf-8", "replace")

    def _answer(self, seconds: float | None) -> int | None:
        """Return the number in the next line, ``None`` if there is none in time."""
        stdout = self._process.stdout
        assert stdout is not None
        ready, _, _ = select.select([stdout], [], [], seconds)
        return int(stdout.readline()) if ready else None

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def attempt(mutant: Mutant, folder: Path, whole: Path, trials: Trials) -> Outcome:
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
    passed, output = trials.passes(tree, [mutant.test])
    shutil.rmtree(tree)
    if passed:
        return Outcome(mutant, "SURVIVED", good=False)
    if broken := next((word for word in _NO_TEST if word in output), None):
        return Outcome(mutant, f"no test ran: {broken}", good=False)
    return Outcome(mutant, "killed", good=True)


def _attempt_all(mutants: Sequence[Mutant], folder: Path, whole: Path, workers: Sequence[Trials]) -> list[Outcome]:
    """Try them, as many at once as there are workers, and return the outcomes in their order."""
    idle: SimpleQueue[Trials] = SimpleQueue()
    for worker in workers:
        idle.put(worker)

    def one(mutant: Mutant) -> Outcome:
        trials = idle.get()
        try:
            return attempt(mutant, folder, whole, trials)
        finally:
            idle.put(trials)

    with ThreadPoolExecutor(len(workers)) as pool:
        return list(pool.map(one, mutants))


def main(names: Sequence[str], root: Path = ROOT) -> int:
    """Try the mutants, print a table, return the exit status."""
    mutants = [read(path) for path in ([Path(name).resolve() for name in names] or sorted(PATCHES.glob("*.patch")))]
    with tempfile.TemporaryDirectory(prefix="meshtx-mutants-") as name, ExitStack() as stack:
        folder = Path(name)
        workers = [stack.enter_context(closing(Trials(folder / f"output-{number}"))) for number in range(WORKERS)]
        whole = copy_tree(root, folder / "unpatched")
        passed, output = workers[0].passes(whole, sorted({mutant.test for mutant in mutants}))
        if not passed:
            print(output)
            print("The tests fail without a mutant: nothing can be said of one.")
            return 1
        outcomes = _attempt_all(mutants, folder, whole, workers)
    width = max(len(outcome.mutant.path.stem) for outcome in outcomes)
    for outcome in sorted(outcomes, key=lambda outcome: not outcome.good):  # what is to be mended is read last
        print(f"{outcome.mutant.path.stem:{width}}  {outcome.verdict:8}  {outcome.mutant.removes}")
        print(f"{'':{width}}            {outcome.mutant.test}")
    killed = sum(outcome.good for outcome in outcomes)
    print(f"{killed} killed, {len(outcomes) - killed} not")
    return int(killed < len(outcomes))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BadPatch as problem:
        sys.exit(f"mutants: {problem}")
