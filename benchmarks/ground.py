"""Where everything runs: a network namespace with nothing but its loopback, and two CPUs.

    CPU 0: both proxies of the pair          CPU 1: load and servers, and what taps

All processes go when this one goes, however it ends (see `meshtx.demo.lab`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks import accounting
from benchmarks.certificates import Certificates
from meshtx.demo.lab import Lab, LabError, wait_until
from meshtx.errors import ConfigError
from meshtx.services.descriptors import raise_descriptor_limit

ROOT = Path(__file__).parents[1]
PATIENCE = 60.0
"""Seconds until a program must be ready."""

DESCRIPTORS = 65536
"""Descriptors that every process here may have, if this user may allow it: 10,000 connections need 20,000."""

PORTS = "10000 65000"
"""Ports that connections may have: 32,000 a minute would be too few."""


def two_cpus() -> tuple[int, int]:
    """Return the CPU of the proxies and that of the load.

    :raises ConfigError: there is only one.
    """
    ours = sorted(os.sched_getaffinity(0))
    if len(ours) < 2:
        raise ConfigError("CPUs", "there is only one", "the load must not run where the proxies do")
    return ours[0], ours[1]


@dataclass
class Running:
    """A process on the ground.

    :param said: the file that its output goes to.
    """

    what: str
    process: subprocess.Popen[bytes]
    said: Path

    def cpu(self) -> float:
        """Return the CPU seconds it has used."""
        return accounting.cpu_seconds(self.process.pid)

    def kernel(self) -> float:
        """Return how many of them in the kernel."""
        return accounting.kernel_seconds(self.process.pid)

    def resident(self) -> int:
        """Return its resident memory, bytes."""
        return accounting.resident(self.process.pid)

    def until(self, fact: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
        """Wait for a fact that comes true while the process runs."""

        def there() -> bool:
            if self.process.poll() is not None:
                raise LabError(f"{self.what} ended before {what}:\n{self.said.read_text(errors='replace')}")
            return fact()

        wait_until(there, f"{self.what}: {what}", seconds)

    def report(self) -> dict[str, Any]:
        """Wait for its good end, and return the JSON object that it has written.

        :raises LabError: it failed.
        """
        failed, said = self.process.wait(), self.said.read_text(errors="replace")
        if failed:
            raise LabError(f"{self.what} failed:\n{said}")
        return json.loads(said)

    def stop(self, patience: float = 5) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Ground:
    """A context in which programs can be started."""

    def __init__(self) -> None:
        self.proxies_cpu, self.load_cpu = two_cpus()
        self.key_exchanges: dict[str, str] = {}
        """How the proxies of each pair make their keys."""
        self._lab = Lab()

    def __enter__(self) -> Self:
        self.descriptors = raise_descriptor_limit(DESCRIPTORS)
        os.sched_setaffinity(0, {self.load_cpu})
        self._lab.__enter__()
        self.folder = self._lab.folder
        self.certificates = Certificates.make(self.folder)
        self._host = self._lab.build_fabric()
        self._host.run("sh", "-c", f"echo {PORTS} >/proc/sys/net/ipv4/ip_local_port_range")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lab.__exit__(kind, error, trace)

    def start(self, what: str, argv: Sequence[str], *, cpu: int) -> Running:
        """Start a program on a CPU.

        :param what: names it in errors, and its log.
        """
        environment = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        process = self._host.start("taskset", "-c", str(cpu), *argv, log=what, env=environment)
        return Running(what, process, self.folder / f"{self._host.name}-{what}.log")

    def run(self, *argv: str) -> str:
        """Run a program on the CPU of the load to its good end, and return what it wrote."""
        return self._host.run("taskset", "-c", str(self.load_cpu), *argv).stdout

    def says(self, *argv: str) -> str:
        """Run a program, and return whatever it says, on either output."""
        done = self._host.run(*argv, check=False)
        return done.stdout + done.stderr

    def tool(self, module: str, *argv: str) -> str:
        """Run one of our load generators likewise."""
        return self.run(sys.executable, "-m", f"benchmarks.load.{module}", *argv)

    def serve(self, what: str, argv: Sequence[str], port: int) -> Running:
        """Start a server on the CPU of the load, and wait until it answers."""
        server = self.start(what, argv, cpu=self.load_cpu)
        server.until(lambda: self.answers(f"http://127.0.0.1:{port}/"), "answering a request")
        return server

    def answers(self, url: str) -> bool:
        """Tell whether a request gets a good answer."""
        done = self._host.run("curl", "--noproxy", "*", "-sf", "-m", "5", "-o", "/dev/null", url, check=False)
        return done.returncode == 0

    def answers_anybody(self, address: str, port: int, name: str) -> bool:
        """Tell whether a client that proves nothing gets an answer over TLS, of whatever kind."""
        argv = ["-sk", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", "--resolve", f"{name}:{port}:{address}"]
        done = self._host.run("curl", "--noproxy", "*", *argv, f"https://{name}:{port}/", check=False)
        return done.stdout != "000"

    def page(self, url: str) -> str:
        """Return the answer to a request."""
        return self._host.run("curl", "--noproxy", "*", "-sf", "-m", "5", url).stdout
