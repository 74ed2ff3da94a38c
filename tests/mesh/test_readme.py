"""The README's mesh on one laptop, by its commands as they stand there."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from meshtx.demo.lab import wait_until
from meshtx.supervisor.processes import TWISTD
from tests.mesh.town import PATIENCE, ROOT, Program, environment, why_not

INSTALL = "pip install .\n"
"""What whoever runs the tests has done already."""
DAEMONS = ("client", "identity", "web")


def section() -> str:
    """Return what the README says about it."""
    return (ROOT / "README.md").read_text().partition("\n## On one laptop")[2].partition("\n## ")[0]


def alike(line: str) -> str:
    """Return a line of tap without what is another one each time: numbers of connections, the client's port, times."""
    return re.sub(r"(?<= id=)\d+|(?<=src=127\.0\.0\.1:)\d+|(?<=latency=)\d+|(?<=duration=)\d+", "N", line)


class Tale(SynchronousTestCase):
    skip = why_not()

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        (self.folder / "bin").mkdir(parents=True)
        for name, command in (("meshtx", (sys.executable, "-m", "meshtx")), ("twistd", TWISTD)):
            program = self.folder / "bin" / name
            program.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
            program.chmod(0o755)
        self.network = ["unshare", "--net"]
        loopback = self.program("loopback", "ip link set lo up; echo up; exec sleep infinity")
        loopback.says("up\n")
        self.network = ["nsenter", f"--net=/proc/{loopback.process.pid}/ns/net"]
        self.addCleanup(self.kill_daemons)

    def program(self, what: str, script: str) -> Program:
        """Start a shell that ends at the first command that fails."""
        said = self.folder / f"{what}.said"
        env = environment()
        env["PATH"] = f"{self.folder / 'bin'}:{env['PATH']}"
        with said.open("wb") as file:
            process = subprocess.Popen(
                [*self.network, "sh", "-euc", script],
                cwd=self.folder,
                env=env,
                stdout=file,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        self.addCleanup(process.wait)
        self.addCleanup(self.kill_group, process.pid)
        return Program(what, process, said)

    def kill_group(self, leader: int) -> None:
        """End a shell and what it has left in the background."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader, signal.SIGKILL)

    def kill_daemons(self) -> None:
        """End what has left its shell's group, where the README's own way was not come to."""
        for file in self.folder.glob("*.pid"):
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.kill(int(file.read_text()), signal.SIGKILL)

    def test_the_commands_lead_to_what_stands_there(self) -> None:
        blocks = re.findall(r"^```(\w*)\n(.*?)^```$", section(), re.DOTALL | re.MULTILINE)
        self.assertEqual([language for language, _ in blocks], ["sh", "toml", "sh", "sh", ""])
        begin, directory, programs, tap, shown = (text for _, text in blocks)
        self.assertTrue(begin.startswith(INSTALL))
        self.program("begin", begin.removeprefix(INSTALL)).answer()
        (self.folder / "mesh.toml").write_text(directory)
        self.assertEqual(self.program("programs", programs).answer().splitlines()[-1], "hello")

        lines = self.program("tap", tap)
        lines.until(lambda: lines.log.count("the tap is open") == 2, "both taps are open")
        self.program("ask", programs.splitlines()[-1]).answer()
        wanted = {alike(line) for line in shown.splitlines()}
        self.assertEqual(len(wanted), 4)
        lines.until(lambda: wanted <= set(map(alike, lines.lines)), "all lines of the README are there")

        logs = {name: (self.folder / f"{name}.log").read_text() for name in DAEMONS}
        self.assertEqual({name: text.count(" starting up.") for name, text in logs.items()}, dict.fromkeys(DAEMONS, 1))
        (end,) = re.findall(r"^`(for each in .*?; done)` ends the three programs", section(), re.MULTILINE)
        self.program("end", end).answer()
        wait_until(lambda: not list(self.folder.glob("*.pid")), "the end of all daemons", PATIENCE)
