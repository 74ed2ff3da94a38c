"""The machine of a cluster: one set of namespaces, in which daemons are started and commands are run."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.failures import ClusterFailed

ADDRESS = "192.0.2.10"
"""Of the node."""

OUTSIDE = "192.0.2.2"
"""Of the second host, on the same link."""

NAMESPACES = ("--mount", "--net", "--uts", "--ipc", "--pid", "--cgroup")

PREPARED_WITHIN = 20.0
ENDED_WITHIN = 10.0
"""Seconds."""

GROUPS = Path("/sys/fs/cgroup")

_INIT = Path(__file__).with_name("node_init.sh")
_JOIN = 'for each in "$1"/*/"$2"/cgroup.procs; do echo $$ >"$each"; done; shift 2; exec "$@"'
"""Moves a shell into the node's control groups, and becomes the command."""


class Node:
    """The machine.

    :param folder: where all it writes goes, and what it is found by again.
    :param programs: the folder of ``pause``, which is its process 1.
    """

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder.absolute()
        self._programs = programs
        # One of its own for each node: to end one leaves the others' alone.
        self._group = f"meshtx-cluster-{hashlib.sha256(bytes(self.folder)).hexdigest()[:12]}"

    def start(self, *, detached: bool) -> None:
        """Make its namespaces and its network.

        :param detached: whether it outlives this process; else it ends with the thread that started it.
        :raises ClusterFailed: it cannot be made here, and why.
        """
        if not (GROUPS / "memory").is_dir():
            raise ClusterFailed("this machine has control groups of version 2 alone; version 1 is needed")
        (self.folder / "log").mkdir(parents=True)
        self._make_groups()
        tied = [] if detached else ["setpriv", "--pdeathsig", "KILL"]
        command = [*tied, "unshare", *NAMESPACES, "--fork", "--kill-child", "--propagation", "private", str(_INIT)]
        command += [str(self.folder), str(self._programs / "pause"), ADDRESS, OUTSIDE]
        holder = self._spawn("init", command)
        deadline = time.monotonic() + PREPARED_WITHIN
        while not (self.folder / "prepared").exists():
            if holder.poll() is not None or time.monotonic() > deadline:
                holder.kill()
                raise ClusterFailed(f"the node cannot be made: {self.last_words('init')}")
            time.sleep(0.02)
        children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()
        (self.folder / "pid").write_text(children[0])

    def daemon(self, name: str, *options: str) -> subprocess.Popen[bytes]:
        """Start a program on it that stays; what it says goes to ``log/NAME.log``."""
        ours = self._programs / name
        return self._spawn(name, [*self.inside(), str(ours) if ours.exists() else name, *options])

    def inside(self) -> list[str]:
        """Return the beginning of a command that is run on the node."""
        return ["nsenter", "-t", self._pid, "-m", "-n", "-u", "-p", "-i", "-C", "--wd=/", "--"]

    def on_its_network(self) -> list[str]:
        """Return the beginning of a command that sees this machine's files and the node's network."""
        return ["nsenter", "-t", self._pid, "-n", "--"]

    def outside(self) -> list[str]:
        """Return the beginning of a command that sees this machine's files and the second host's network."""
        process = (self.folder / "outside").read_text().strip()
        return ["nsenter", f"--net=/proc/{self._pid}/root/proc/{process}/ns/net", "--"]

    def run(self, *command: str, timeout: float = 120.0) -> str:
        """Run a command on the node and return what it prints.

        :raises ClusterFailed: its exit status is not 0.
        """
        done = subprocess.run([*self.inside(), *command], capture_output=True, text=True, timeout=timeout, check=False)
        if done.returncode:
            raise ClusterFailed(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def stop(self) -> None:
        """Kill all that runs on it, and forget it; one that was never started is no error."""
        if self.is_up:
            _end(int(self._pid), self._programs / "pause")
        for group in GROUPS.glob(f"*/{self._group}"):
            _remove_groups(group)
        shutil.rmtree(self.folder, ignore_errors=True)

    def last_words(self, name: str) -> str:
        """Return the last line that a daemon has said."""
        lines = (self.folder / "log" / f"{name}.log").read_text(errors="replace").splitlines()
        return lines[-1] if lines else "it said nothing"

    @property
    def is_up(self) -> bool:
        """Whether it was started and not stopped since."""
        return (self.folder / "pid").exists()

    @property
    def _pid(self) -> str:
        return (self.folder / "pid").read_text()

    def _make_groups(self) -> None:
        for hierarchy in GROUPS.iterdir():
            if (hierarchy / "cgroup.procs").exists() and not hierarchy.is_symlink():
                (hierarchy / self._group).mkdir(exist_ok=True)
        for each in ("cpuset.cpus", "cpuset.mems"):  # an empty one takes nobody in
            value = (GROUPS / "cpuset" / each).read_text()
            (GROUPS / "cpuset" / self._group / each).write_text(value)

    def _spawn(self, name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        with (self.folder / "log" / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                ["sh", "-c", _JOIN, "join", str(GROUPS), self._group, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def _end(pid: int, program: Path) -> None:
    """Kill process 1 of the namespaces, with which the kernel ends all others, and wait for that."""
    process = Path("/proc", str(pid))
    try:
        if str(program) not in (process / "cmdline").read_text():
            return  # it ended, and another one has its number
        os.kill(pid, signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError):
        return
    while process.exists():
        time.sleep(0.02)


def _remove_groups(top: Path) -> None:
    """Remove a control group and all below it, once the kernel has let go of the processes that were killed."""
    for folder, _, _ in os.walk(top, topdown=False):
        deadline = time.monotonic() + ENDED_WITHIN
        while True:
            try:
                Path(folder).rmdir()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
