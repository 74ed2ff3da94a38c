"""Run the tests, then say what they found.

    python -m tools.run_tests [--coverage] [TEST ...]

What moves bytes is tested twice: on Twisted's reactor, and on our own. An ordinary user's tests of network namespaces
run as root of a user namespace, where the system allows one. What needs Kubernetes is tested last; its control plane is
built meanwhile if it has to be, and the release before for those namespaces, which reach no package index. With names
of tests it runs these alone, once. With ``--coverage`` it also measures which lines they reach, in every process, which
takes twice the CPU time, and prints the report.

What failed is told once more at the end, behind ``What failed:``. The last line is ``N passed, N failed``, and the one
before says so if there was no Kubernetes; the exit status is 0 if nothing failed and, if asked for, enough was covered.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from meshtx.demo import lab
from meshtx.demo.privilege import AS_ROOT_OF_OUR_OWN, may_make_namespaces
from tests import release_before
from tests.kube import binaries

ROOT = Path(__file__).resolve().parent.parent
WORKERS = (os.cpu_count() or 1) + 1
"""More than there are processors: some tests only wait."""

ON_OUR_REACTOR = ["--reactor", "meshtx", "tests.net", "tests.proxy", "tests.rpc", "tests.services"]
"""What is run once more: the connections of these tests are then watched by our own poller."""

KUBERNETES = "tests.kube"

CLUSTER = "tests.cluster"
"""What `make cluster-test` runs."""

WHOLE_PROGRAMS = "tests.mesh"

OF_NAMESPACES = [WHOLE_PROGRAMS, "tests.net.test_dial", "tests.net.test_listen", "tests.net.test_redirect_traffic"]
OF_NAMESPACES += ["tests.net.test_sockets", "tests.net.test_tls_quick", "tests.demo.test_capture"]
"""What only root can run, or root of a user namespace."""

IN_USER_NAMESPACE = [*AS_ROOT_OF_OUR_OWN, "--mount", "--net", "sh", "-c"]
IN_USER_NAMESPACE += ['mount -t tmpfs tmpfs /run && ip link set lo up && exec "$@"', "sh"]
"""Runs a command as root of a user namespace, with a network of its own and a /run that it may write."""

LEFT_OUT = "Kubernetes is not built, so nothing was tested against it; `make kube-up` says why"

_RESULT = re.compile(r"^(?:PASSED|FAILED)(?: \((.*)\))?$", re.MULTILINE)
_REPORT = re.compile(r"^={79}\n(\[(?:FAIL|ERROR|SUCCESS!\?!)\]\n.*?\n)(?=={79}\n|-{79}\n)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Run:
    """One call of trial.

    :param tests: its arguments.
    :param prefix: the command that runs it.
    """

    tests: Sequence[str]
    prefix: Sequence[str] = ()

    @property
    def is_about_kubernetes(self) -> bool:
        """Whether it needs the control plane."""
        return any(name.startswith(KUBERNETES) for name in self.tests)


def main(arguments: Sequence[str]) -> int:
    """Run, report and return the exit status."""
    measured = "--coverage" in arguments
    tests = [each for each in arguments if each != "--coverage"]
    environment = lab.environment()
    trial = ["-m", "twisted.trial", f"-j{WORKERS}"]
    if measured:
        # coverage in trial's workers needs to know where the file is, whatever folder they are in.
        environment["COVERAGE_FILE"] = str(ROOT / ".coverage")
        _coverage(environment, "erase")
        trial = ["-m", "coverage", "run", *trial]
    planned = runs(tests, as_own_root=os.geteuid() != 0 and may_make_namespaces(*AS_ROOT_OF_OUR_OWN))
    build = _build(binaries) if any(run.is_about_kubernetes for run in planned) else None
    release = _build(release_before) if any(run.prefix for run in planned) else None
    results = []
    for run in planned:
        if build and run.is_about_kubernetes:
            build.wait()
        if release and run.prefix:
            release.wait()
        results.append(_follow([*run.prefix, sys.executable, *trial, *run.tests], environment))
    status = max(status for status, _ in results)
    if measured:
        enough = ["--fail-under=0"] if tests else []  # a few tests are not asked for all
        status = _coverage(environment, "combine", "-q") or _coverage(environment, "report", *enough) or status
    if reports := [report for _, output in results for report in failures(output)]:
        print("What failed:", *reports, sep="\n")
    passed, failed, skipped = (sum(each) for each in zip(*(counts(output) for _, output in results), strict=True))
    if build and not binaries.built():
        print(LEFT_OUT)
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return status or int(failed > 0 or passed == 0)


def _coverage(environment: dict[str, str], *arguments: str) -> int:
    """Run a command of coverage and return its exit status."""
    command = [sys.executable, "-m", "coverage", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def runs(tests: Sequence[str], *, as_own_root: bool = False) -> list[Run]:
    """Return what trial is to run, one time after another.

    :param as_own_root: this user may make no network namespace, but a user namespace, and may make them there.
    """
    if tests:
        return [Run(tests)]
    apart = {CLUSTER, KUBERNETES, *([WHOLE_PROGRAMS] if as_own_root else [])}
    return [
        Run([name for name in _packages() if name not in apart]),
        *([Run(OF_NAMESPACES, IN_USER_NAMESPACE)] if as_own_root else []),
        *([Run(ON_OUR_REACTOR)] if hasattr(select, "epoll") else []),
        Run([KUBERNETES]),
    ]


def _packages() -> list[str]:
    """Return the packages and the modules of tests that stand directly in ``tests``."""
    folder = ROOT / "tests"
    found = [*folder.glob("*/__init__.py"), *folder.glob("test_*.py")]
    return sorted(f"tests.{path.stem if path.parent == folder else path.parent.name}" for path in found)


def _build(what: ModuleType) -> subprocess.Popen[bytes]:
    """Start to build what tests need if it is not there; what fails there, the tests that need it say too."""
    return subprocess.Popen(["nice", sys.executable, "-m", what.__name__], cwd=ROOT, stdout=subprocess.DEVNULL)


def _follow(command: Sequence[str], environment: dict[str, str]) -> tuple[int, str]:
    """Run a command, show what it prints, and return its exit status and that."""
    lines = []
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            lines.append(line)
    return process.returncode, "".join(lines)


def failures(output: str) -> list[str]:
    """Return what trial's report says of each way in which tests failed: a traceback, and the names of the tests."""
    return _REPORT.findall(output)


def counts(output: str) -> tuple[int, int, int]:
    """Return how many tests passed, failed and were skipped, from the last line of trial's report."""
    results = _RESULT.findall(output)
    if not results:
        return 0, 0, 0
    words = dict(re.findall(r"(\w+)=(\d+)", results[-1]))
    number = {word: int(count) for word, count in words.items()}
    failed = number.get("failures", 0) + number.get("errors", 0) + number.get("unexpectedSuccesses", 0)
    return number.get("successes", 0) + number.get("expectedFailures", 0), failed, number.get("skips", 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
