"""The README's mesh on one laptop, by its commands as they stand there."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from meshtx.supervisor.processes import TWISTD
from tests.mesh.laptop import type_section
from tests.mesh.town import Program, environment, why_not


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
        type_section(self.program, self.folder, is_installed=True)
