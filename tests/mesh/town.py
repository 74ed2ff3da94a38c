"""A town for tales: hosts in network namespaces, an identity service and sidecars as real processes.

Each wait is for a fact and has a deadline; when one passes, the error has what the program has written. All of
it goes with the town (see `meshtx.demo.lab`), and with this process, however it ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from shutil import which
from types import ModuleType

from meshtx.demo import capture, lab
from meshtx.demo.lab import Host, Lab, TimedOut, wait_until
from meshtx.demo.privilege import in_user_namespace, may_make_namespaces
from meshtx.identity import ca_folder
from meshtx.net.redirect import RedirectRules, render
from meshtx.pki.name import MeshScope, Name
from meshtx.supervisor.processes import TWISTD

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
"""Seconds until a fact must be true: many times what it takes, for the machine may be busy."""
MARK = 0x6D
MESHTX = (sys.executable, "-m", "meshtx")
SCOPE = MeshScope()
NAMESPACE = "town"
REACTOR = os.environ.get("TOWN_REACTOR", "")
"""Of all programs, as ``twistd --reactor`` takes it; empty: Twisted's choice."""
TRANSPORTS = os.environ.get("TOWN_TRANSPORTS", "")
"""Of all sidecars, as their option takes them; empty: their default."""


def why_not(*programs: str) -> str | None:
    """Return why the tale cannot be told here, or None."""
    if os.geteuid() != 0 or not may_make_namespaces():
        return "needs leave to make network namespaces: be root, or try unshare --user --map-root-user"
    missing = [program for program in ("ip", "nft", "curl", *programs) if not which(program, path=path())]
    return f"needs {', '.join(missing)}" if missing else None


def whole_root() -> str | None:
    """Return why there are no other users here, or None."""
    return "needs root outside of any user namespace" if in_user_namespace() else None


def environment(packages: Path | None = None) -> dict[str, str]:
    """Return what programs are started with: the project to import, and the folders of administration's commands.

    :param packages: a folder of Python packages beside the project.
    """
    python_path = os.pathsep.join(str(each) for each in (packages, ROOT) if each)
    return {**os.environ, "PYTHONPATH": python_path, "PYTHONUNBUFFERED": "1", "PATH": path()}


def path() -> str:
    """Return PATH with the folders of administration's commands."""
    return lab.environment()["PATH"]


def twistd(*options: str, reactor: str = REACTOR) -> list[str]:
    """Return the command line of a program of twistd's, in the foreground and without a pid file."""
    chosen = (f"--reactor={reactor}",) if reactor else ()
    return [*TWISTD, *chosen, "--nodaemon", "--pidfile=", *options]


def by_another(python: Path, command: Sequence[str]) -> list[str]:
    """Return the command line of a program of ours for the Python of another release, which imports none of this."""
    return [str(python), "-I", *(word for word in command[1:] if word != "-P")]


def name(account: str) -> Name:
    """Return the identity of a service account of the town."""
    return SCOPE.name(NAMESPACE, account)


class Program:
    """A process in a namespace.

    :param said: the file that its output goes to.
    """

    def __init__(self, what: str, process: subprocess.Popen[bytes], said: Path) -> None:
        self.what = what
        self.process = process
        self._said = said

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self._said.read_text(errors="replace")

    @property
    def lines(self) -> list[str]:
        """The whole lines that it has written so far."""
        return self.log.rpartition("\n")[0].splitlines()

    def until(self, fact: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
        """Wait for a fact that comes true while the program runs."""

        def there() -> bool:
            if fact():
                return True
            if self.process.poll() is not None and not fact():
                raise AssertionError(f"{self.what} ended with {self.process.returncode} before {what}:\n{self.log}")
            return False

        try:
            wait_until(there, what, seconds)
        except TimedOut as error:
            raise AssertionError(f"{self.what}: {error}; it wrote:\n{self.log}") from None

    def says(self, text: str, seconds: float = PATIENCE) -> None:
        """Wait until it has written this."""
        self.until(lambda: text in self.log, f"writing {text!r}", seconds)

    def ended(self, seconds: float = PATIENCE) -> int:
        """Wait for its end and return its status."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.what} did not end within {seconds:g} s; it wrote:\n{self.log}") from None

    def answer(self, seconds: float = PATIENCE) -> str:
        """Wait until it ends well, and return what it has written."""
        if status := self.ended(seconds):
            raise AssertionError(f"{self.what} ended with {status}; it wrote:\n{self.log}")
        return self.log

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def stop(self) -> int:
        """Send SIGTERM, wait for its end and return its status."""
        self.signal(signal.SIGTERM)
        return self.ended()

    def memory(self) -> int:
        """Return its resident memory, bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(status.partition("VmRSS:")[2].split()[0])


class Town:
    """Hosts on one network, 10.1.0.0/24 and fd00:1::/64.

    :param meshed: hosts that are to have a sidecar, by name.
    :param plain: other hosts.
    :param packages: a folder of Python packages that all programs find, beside the project.
    :param reactor: of the sidecars.
    :param transports: of the sidecars.
    :param released: hosts whose programs of ours are another release's, and its Python.
    """

    def __init__(
        self,
        meshed: Sequence[str],
        plain: Sequence[str] = (),
        packages: Path | None = None,
        *,
        reactor: str = REACTOR,
        transports: str = TRANSPORTS,
        released: Mapping[str, Path] | None = None,
    ) -> None:
        self.meshed = tuple(meshed)
        self._released = released or {}
        self._reactor = reactor
        self._transports = transports
        self._environment = environment(packages)
        self._logs = 0
        self._lab = Lab()
        self._lab.__enter__()
        try:
            self._build([*meshed, *plain, "identity", "operator"])
        except BaseException:
            self.remove()
            raise

    def _build(self, hosts: Sequence[str]) -> None:
        self.folder = self._lab.folder
        self.addresses = {host: f"10.1.0.{last}" for last, host in enumerate(hosts, 1)}
        self.addresses6 = {host: f"fd00:1::{last:x}" for last, host in enumerate(hosts, 1)}
        self._lab.build_fabric()
        for host in hosts:
            self._lab.add_host(host, self.addresses[host], self.addresses6[host])
        self.ca = self.folder / "ca"
        ca_folder.init(self.ca, SCOPE, datetime.now(UTC))
        self.write("ca-bundle.crt", (self.ca / "ca-bundle.crt").read_text())
        for account in (*self.meshed, "operator"):
            token = ca_folder.create_token(self.ca, NAMESPACE, account, time.time())
            self.write(f"{account}.token", token)
        self.directory()

    def remove(self) -> None:
        """Take everything away."""
        self._lab.__exit__(None, None, None)

    def hosts(self, host: str) -> Host:
        """Return a host."""
        return self._lab.hosts[host]

    def write(self, file: str, text: str) -> Path:
        """Write a file that all hosts see, whole or not at all, and return where it is."""
        path = self.folder / file
        new = path.with_suffix(".new")
        new.write_text(text)
        new.replace(path)
        return path

    def directory(self, *lines: str) -> Path:
        """Write the directory that all sidecars read.

        :param lines: what stands before the workloads.
        """
        workloads = [
            f'[[workload]]\naddresses = ["{self.addresses[host]}", "{self.addresses6[host]}"]\n'
            f'identity = "{name(host)}"\nauthority = "{host}-svc.{NAMESPACE}"\n'
            for host in self.meshed
        ]
        return self.write("mesh.toml", "\n".join([*lines, *workloads]))

    def start(self, host: str, *argv: str, ready: str = "") -> Program:
        """Start a program on a host.

        :param ready: what it writes once others may go on.
        """
        self._logs += 1
        log = f"{self._logs:03}-{Path(argv[0]).name}"
        process = self.hosts(host).start(*argv, log=log, env=self._environment)
        program = Program(f"{' '.join(argv[:6])} on {host}", process, self.folder / f"{host}-{log}.log")
        if ready:
            program.says(ready)
        return program

    def _ours(self, host: str, command: Sequence[str], ready: str = "") -> Program:
        """Start a program of ours, of the host's release."""
        python = self._released.get(host)
        return self.start(host, *(by_another(python, command) if python else command), ready=ready)

    def run(self, host: str, *argv: str, seconds: float = PATIENCE) -> str:
        """Run a command on a host to its good end and return what it wrote."""
        return self.start(host, *argv).answer(seconds)

    def python(self, host: str, module: ModuleType, *argv: str, ready: str = "") -> Program:
        """Start a module of the tests on a host."""
        return self.start(host, sys.executable, "-m", module.__name__, *argv, ready=ready)

    def identity(self, *options: str) -> Program:
        """Start the identity service and wait until it is ready."""
        program = self._ours("identity", twistd("meshidentity", *self.identity_options(), *options))
        self.ready(program, "identity", 9990)
        return program

    def identity_options(self) -> list[str]:
        """Return the options of the identity service."""
        own = self.addresses["identity"]
        address = ["--listen", f"{own}:8080", "--admin-listen", f"{own}:9990"]
        return [*address, "--issuer", f"{self.ca}/issuer", "--token-key-file", f"{self.ca}/token.pub"]

    def sidecars(self, *options: str) -> dict[str, Program]:
        """Start the sidecar of every meshed host, wait until they are ready and turn the traffic to them.

        :param options: of each of them, beside those of `sidecar`.
        """
        started = {
            host: self._ours(host, twistd("meshproxy", *self.sidecar(host), *options, reactor=self._reactor))
            for host in self.meshed
        }
        for host, program in started.items():
            self.ready(program, host, 4191)
            self.redirect(host, RedirectRules(mark=MARK))
        return started

    def sidecar(self, host: str, mark: int | None = MARK) -> list[str]:
        """Return the options of a host's sidecar."""
        return [
            *("--name", str(name(host)), "--token-file", f"{self.folder}/{host}.token"),
            *(("--mark", str(mark)) if mark is not None else ()),
            *(("--transports", self._transports) if self._transports else ()),
            *("--identity-address", f"{self.addresses['identity']}:8080", "--tap-identity", str(name("operator"))),
            *("--trust-anchors-file", f"{self.folder}/ca-bundle.crt", "--directory-file", f"{self.folder}/mesh.toml"),
        ]

    def redirect(self, host: str, rules: RedirectRules) -> None:
        """Turn the traffic of a host to its sidecar."""
        self.hosts(host).run("nft", "-f", "-", stdin=render(rules))

    def ready(self, program: Program, host: str, port: int) -> None:
        """Wait until a program says at its admin port that it is ready."""
        program.until(lambda: self.is_ready(host, port), f"port {port} of {host} says that it is ready")

    def is_ready(self, host: str, port: int) -> bool:
        """Tell whether a program says that it is ready."""
        return self._admin(host, port, "ready").returncode == 0

    def metrics(self, host: str, port: int = 4191) -> dict[str, float]:
        """Return what a program measures; it needs --admin-plaintext-metrics."""
        lines = self._admin(host, port, "metrics").stdout.splitlines()
        return {key: float(value) for key, _, value in (line.rpartition(" ") for line in lines) if key[:1] != "#"}

    def _admin(self, host: str, port: int, page: str) -> subprocess.CompletedProcess[str]:
        url = f"http://{self.addresses[host]}:{port}/{page}"
        return self.hosts(host).run("curl", "--noproxy", "*", "-sf", "-m", "5", url, check=False)

    def tap(self, *hosts: str, options: Sequence[str] = ()) -> Program:
        """Start a tap on some hosts' sidecars, as the operator, and wait until it is open."""
        targets = [f"{host}.{NAMESPACE}@{self.addresses[host]}" for host in hosts]
        own = ["--name", str(name("operator")), "--token-file", f"{self.folder}/operator.token"]
        where = ["--identity-address", f"{self.addresses['identity']}:8080"]
        trust = ["--trust-anchors-file", f"{self.folder}/ca-bundle.crt"]
        command = [*MESHTX, "tap", *targets, *own, *where, *trust, *options]
        return self._ours("operator", command, ready="the tap is open")

    def capture(self, file: str = "wire.pcap") -> Capture:
        """Begin to record all that crosses the network."""
        path = self.folder / file
        recorder = self.start("fabric", sys.executable, "-m", capture.__name__, str(path))
        recorder.until(lambda: path.is_file() and path.stat().st_size > 0, "the capture began")
        return Capture(path, recorder)


class Capture:
    """A record of the network, under way."""

    def __init__(self, path: Path, recorder: Program) -> None:
        self._path = path
        self._recorder = recorder

    def end(self) -> tuple[bytes, list[capture.Stream]]:
        """Stop it, and return the raw file and the TCP connections in it."""
        self._recorder.stop()
        return self._path.read_bytes(), capture.streams(self._path)
