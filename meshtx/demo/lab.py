"""Hosts on one machine: network namespaces on a bridge, and processes in them.

    fabric (a bridge) ─┬─ eth0 of host "web"    10.1.0.2
                       ├─ eth0 of host "emoji"  10.1.0.3
                       └─ ...

Nothing here has a name in the system: a namespace is held by a process, and every process of a lab is in one
process group. A guard outside of it reads a pipe from us. When we go, however we go, the pipe ends, the guard kills
the group and removes the lab's folder, and the kernel takes the namespaces back.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from meshtx.errors import ConfigError, MeshtxError

_GUARD = 'cat >/dev/null; kill -KILL "-$1"; for try in 1 2 3 4 5 6 7 8 9; do rm -rf -- "$2" && exit; sleep 0.1; done'
"""Waits for the end of the pipe. What is killed may still end a write: then the folder is not empty at first."""
PREFIX_LENGTH = 24
PREFIX_LENGTH_6 = 64


class LabError(MeshtxError):
    """A command that builds the lab failed; the message has what it said."""


class TimedOut(MeshtxError):
    """Something that was waited for did not become true in time."""


def wait_until(fact: Callable[[], bool], what: str, seconds: float) -> None:
    """Wait for a fact, looking 50 times a second.

    :param what: names the fact in the error.
    :raises TimedOut: it did not become true in time.
    """
    deadline = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > deadline:
            raise TimedOut(f"{what}: not within {seconds:g} s")
        time.sleep(0.02)


def environment() -> dict[str, str]:
    """Return ours, with the folders of administration's commands, which an ordinary user's PATH lacks."""
    return {**os.environ, "PATH": os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"}


@dataclass
class Host:
    """One namespace with its processes.

    :param pid: the process that holds the namespace.
    """

    name: str
    pid: int
    lab: Lab = field(repr=False)

    def _enter(self, argv: Sequence[str]) -> list[str]:
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", *argv]

    def run(self, *argv: str, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command here and return what it said.

        :raises LabError: it failed, and `check` is set.
        """
        return self.lab.run(self._enter(argv), check=check, stdin=stdin)

    def start(self, *argv: str, log: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a process here; its output goes to ``LOG.log`` in the lab's folder."""
        return self.lab.start(self._enter(argv), log=f"{self.name}-{log}", env=env)


class Lab:
    """A context in which hosts exist, with a temporary folder that goes with it.

    :raises ConfigError: (on entering) this user may not make network namespaces.
    """

    def __init__(self) -> None:
        self.hosts: dict[str, Host] = {}
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="meshtx-demo-"))
        self.folder.chmod(0o755)  # a sidecar with a uid of its own reads its configuration here
        # The leader ends with us as the guard does: nothing is left if we are killed between the two.
        self._leader = subprocess.Popen(["cat"], stdin=subprocess.PIPE, process_group=0)
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "sh", str(self._leader.pid), str(self.folder)],
            stdin=subprocess.PIPE,
            process_group=0,
        )
        return self

    def build_fabric(self) -> Host:
        """Make the host that is the network between the others."""
        fabric = self._new_host("fabric")
        fabric.run("ip", "link", "set", "lo", "up")
        fabric.run("ip", "link", "add", "br0", "type", "bridge")
        fabric.run("ip", "link", "set", "br0", "up")
        return fabric

    def add_host(self, name: str, address: str, address6: str = "") -> Host:
        """Make a host on the fabric.

        :param address: IPv4, without the prefix length; `address6`: IPv6 likewise, or none.
        """
        fabric = self.hosts["fabric"]
        host = self._new_host(name)
        port = f"p{len(self.hosts)}"
        fabric.run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(host.pid))
        fabric.run("ip", "link", "set", port, "master", "br0", "up")
        commands = ["link set lo up", f"addr add {address}/{PREFIX_LENGTH} dev eth0", "link set eth0 up"]
        if address6:
            commands.insert(1, f"addr add {address6}/{PREFIX_LENGTH_6} dev eth0 nodad")
        host.run("ip", "-batch", "-", stdin="\n".join(commands))
        host.run("/bin/sh", "-c", "echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start")  # services need no root
        return host

    def _new_host(self, name: str) -> Host:
        ours = Path("/proc/self/ns/net").readlink()
        holder = self.start(["unshare", "--net", "sleep", "infinity"], log=f"{name}-namespace")

        def made() -> bool:
            if holder.poll() is not None:
                said = self.log(f"{name}-namespace")
                raise ConfigError("network namespaces", said or "refused", "run as root, or allow user namespaces")
            return Path(f"/proc/{holder.pid}/ns/net").readlink() != ours

        wait_until(made, f"namespace of {name}", 5)
        self.hosts[name] = Host(name, holder.pid, self)
        return self.hosts[name]

    def run(
        self, argv: Sequence[str], *, check: bool = True, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command beside the hosts; see `Host.run`."""
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, env=environment())
        if check and done.returncode:
            raise LabError(f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")
        return done

    def start(self, argv: Sequence[str], *, log: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a process beside the hosts; see `Host.start`."""
        with self._log(log) as output:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**environment(), **(env or {})},
                process_group=self._leader.pid,
            )
        self._processes.append(process)
        return process

    def _log(self, name: str) -> IO[bytes]:
        return (self.folder / f"{name}.log").open("ab")

    def log(self, name: str) -> str:
        """Return what a process has written so far."""
        return (self.folder / f"{name}.log").read_text(errors="replace").strip()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        for process in (self._guard, *self._processes, self._leader):
            process.wait()
        assert self._leader.stdin is not None
        self._leader.stdin.close()
