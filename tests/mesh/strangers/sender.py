"""The stranger's process, seen from where the program is watched."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from typing import IO, cast

from tests.mesh.strangers import send
from tests.mesh.strangers.targets import HOST, Target
from tests.mesh.town import ROOT, environment


class Sender:
    """A process that sends to a program's ports, one kind of input after another.

    It is one for all kinds: to start it takes longer than what most of them send.

    :param scale: the share of the whole that is sent.
    """

    def __init__(self, target: Target, scale: float) -> None:
        self._target = target
        argv = [HOST, str(target.folder), target.server_name, str(scale)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", send.__name__, *argv],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._requests, self._answers = cast("IO[bytes]", self._process.stdin), cast("IO[bytes]", self._process.stdout)
        self.outcome()

    def send(self, kind: str, port: str) -> None:
        """Begin to send a kind of input to a port, by its name."""
        self._requests.write(json.dumps([kind, self._target.ports[port]]).encode() + b"\n")
        self._requests.flush()

    def sending(self) -> bool:
        """Tell whether what was begun goes on."""
        return not select.select([self._answers], [], [], 0)[0]

    def outcome(self) -> str:
        """Wait until what was begun is sent, and return what went wrong, else an empty string."""
        return cast("str", json.loads(self._answers.readline() or b'"the process of the stranger ended"'))

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()
