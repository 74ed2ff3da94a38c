"""A supervisor as a process, with a stub in the proxy's place, and what the two and the command note."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from meshtx.demo.lab import wait_until
from tests.ports import reserve_port
from tests.supervisor import stub_proxy, supervise

PATIENCE = 60.0
"""Seconds until a fact must be true."""
ROOT = Path(__file__).parents[2]


class SupervisorCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.events = self.folder / "events"
        self.events.touch()
        kept = reserve_port()
        self.addCleanup(kept.close)
        self.port = kept.getsockname()[1]
        self.addCleanup(self.kill_proxy)

    def start(
        self,
        *command: str,
        mode: str = stub_proxy.READY,
        ready: float = PATIENCE,
        drain: float = PATIENCE,
        prefix: Sequence[str] = (),
        **popen: object,
    ) -> subprocess.Popen[bytes]:
        """Start a supervisor.

        :param ready: seconds, as `drain`: its timeouts.
        :param prefix: what comes before its command line.
        """
        options = [str(self.port), str(self.events), mode, str(ready), str(drain)]
        process = subprocess.Popen(
            [*prefix, sys.executable, "-m", supervise.__name__, *options, *command],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "EVENTS": str(self.events)},
            **{  # type: ignore[call-overload]  # what a test says otherwise
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                "start_new_session": True,
                **popen,
            },
        )
        self.addCleanup(self.end, process)
        return process

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """End a supervisor that a test has left, and take what it wrote."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    def kill_proxy(self) -> None:
        """End a proxy that a test has left; in another PID namespace its id is another process's here."""
        for pid in self.pids():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if str(self.events).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)

    def pids(self) -> list[int]:
        """Return the process ids of the proxies that have started."""
        return [int(line.split()[1]) for line in self.noted() if line.startswith("proxy ") and line[6:].isdigit()]

    def noted(self) -> list[str]:
        """Return the whole lines that were noted so far."""
        return self.events.read_text().rpartition("\n")[0].splitlines()

    def story(self) -> list[str]:
        """Return them without process ids."""
        return ["proxy starts" if line.startswith("proxy ") and line[6:].isdigit() else line for line in self.noted()]

    def until(self, event: str) -> None:
        """Wait until this was noted."""
        wait_until(lambda: event in self.noted(), event, PATIENCE)

    def result(self, process: subprocess.Popen[bytes]) -> tuple[int, str, list[str]]:
        """Wait for the end; return the status, standard output, and the lines of standard error but the proxy's."""
        out, err = process.communicate(timeout=PATIENCE)
        lines = err.decode().splitlines()
        return process.returncode, out.decode(), [line for line in lines if line != "a line of the proxy's log"]

    def assertGone(self, pid: int) -> None:
        """Check that a process has ended, or ends."""
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), f"the end of {pid}", PATIENCE)


def shell(script: str) -> tuple[str, str, str]:
    """Return a command whose shell notes things with ``note``."""
    return "sh", "-c", f'note() {{ echo "$*" >>"$EVENTS"; }}; {script}'
