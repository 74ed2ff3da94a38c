"""Network namespaces for tests: made, joined by veth pairs, used, and always taken away again.

Needs root and iproute2. A test that cannot have them says so: ``skip = why_not()``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import count
from pathlib import Path
from shutil import which
from unittest import SkipTest

from meshtx.demo.privilege import in_user_namespace

ROOT = Path(__file__).parents[2]
DEADLINE = 20.0
"""Seconds that a command may take."""

_ids = count()


def insist_on_other_users() -> None:
    """See that processes may become other users.

    :raises SkipTest: root of a user namespace is the only user there.
    """
    if in_user_namespace():
        raise SkipTest("needs root outside of any user namespace, to become another user")


def why_not(*programs: str) -> str | None:
    """Return why namespaces cannot be made here, or None."""
    if os.geteuid() != 0:
        return "needs root, to make network namespaces"
    missing = [program for program in ("ip", *programs) if which(program) is None]
    return f"needs {', '.join(missing)}" if missing else None


class Namespace:
    """One network namespace, with its loopback up."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._processes: list[subprocess.Popen[str]] = []
        _run("ip", "netns", "add", name)
        self.run("ip", "link", "set", "lo", "up")

    def run(self, *argv: str, script: str | None = None, check: bool = True) -> str:
        """Run a command to its end and return what it printed."""
        return _run(*self._enter(), *argv, script=script, check=check)

    def _enter(self) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{self.name}"]  # unlike `ip netns exec` it needs no mounts of its own

    def python(self, code: str, *argv: str, check: bool = True) -> str:
        """Run Python code that can import the project."""
        return self.run(sys.executable, "-c", code, *argv, check=check)

    def start(self, code: str, *argv: str) -> subprocess.Popen[str]:
        """Start Python code; return once it has printed its first line."""
        process = subprocess.Popen(
            [*self._enter(), sys.executable, "-c", code, *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            env=_environment(),
        )
        self._processes.append(process)
        assert process.stdout is not None
        if not process.stdout.readline():
            raise AssertionError(f"a process in {self.name} ended with {process.wait()} before it was ready")
        return process

    def remove(self) -> None:
        """End its processes and delete it."""
        for process in self._processes:
            process.kill()
            process.wait()
            process.stdout.close()
        _run("ip", "netns", "del", self.name)


class Lab:
    """Namespaces that live as long as a test; call `remove` when it ends."""

    def __init__(self) -> None:
        self._namespaces: list[Namespace] = []

    def namespace(self, name: str) -> Namespace:
        """Make a namespace; the name is for reading, it need not be unique."""
        namespace = Namespace(f"mx{os.getpid()}-{next(_ids)}-{name}")
        self._namespaces.append(namespace)
        return namespace

    def link(self, left: Namespace, right: Namespace, number: int) -> None:
        """Join two: the left has 10.99.NUMBER.1 and fd99:NUMBER::1, the right .2 and ::2."""
        name = f"v{next(_ids)}"
        left.run("ip", "link", "add", name, "type", "veth", "peer", "name", name, "netns", right.name)
        for end, namespace in enumerate((left, right), 1):
            namespace.run("ip", "addr", "add", f"10.99.{number}.{end}/24", "dev", name)
            # nodad: else an address is unusable for a second, while the kernel looks for a duplicate
            namespace.run("ip", "addr", "add", f"fd99:{number}::{end}/64", "dev", name, "nodad", check=False)
            namespace.run("ip", "link", "set", name, "up")

    def remove(self) -> None:
        """Take all of it away."""
        while self._namespaces:
            self._namespaces.pop().remove()


def _run(*argv: str, script: str | None = None, check: bool = True) -> str:
    done = subprocess.run(
        argv, input=script, capture_output=True, text=True, timeout=DEADLINE, check=False, env=_environment()
    )
    if check and done.returncode:
        raise AssertionError(f"{' '.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}
