"""Many a ``meshtx run`` while others load the same service: no connection is refused, and no request is lost.

    python -m tests.mesh.runs [RUNS]

The client's host redirects its traffic all the time, so what connects before its proxy is ready, or after its end, is
refused. It needs root and writes one line: ``N runs, R requests, 0 refused, 0 lost``.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field

from meshtx.net.redirect import RedirectRules
from tests.mesh import asker, bytes_peer, run_client, web_server
from tests.mesh.town import MARK, MESHTX, PATIENCE, Program, Town, twistd

REQUESTS = 20
"""In each run, beside the last words, which count as one."""
LOADS = 3
"""Clients of others that ask all the time."""


@dataclass
class Outcome:
    """What the runs have led to; a request is lost if it was begun and not answered as it should be."""

    runs: int = 0
    requests: int = 0
    refused: int = 0
    lost: int = 0
    errors: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.runs} runs, {self.requests} requests, {self.refused} refused, {self.lost} lost"


class Runs:
    """A town with a service that others ask, and a host whose proxy is there for as long as a command runs."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self.outcome = Outcome()
        self._server = town.addresses["server"]
        town.identity()
        for host in ("server", "load"):
            program = town.start(host, *twistd("meshproxy", *town.sidecar(host)))
            town.ready(program, host, 4191)
        for host in ("server", "load", "client"):
            town.redirect(host, RedirectRules(mark=MARK))
        town.python("server", web_server, "0.0.0.0", "80", ready="serving")
        reads = ("read", str(run_client.LAST))
        self._sink = town.python("server", bytes_peer, "listen", "0.0.0.0", "81", *reads, ready="listening")
        stop = str(town.folder / "stop")
        self._loads = [town.python("load", asker, self._server, "80", stop, ready="asked 2\n") for _ in range(LOADS)]

    def run(self, count: int) -> Outcome:
        """Run the client so often, one after another, and stop the load."""
        for _ in range(count):
            self._run_once()
        whole = self.outcome.runs
        try:
            self._sink.until(lambda: self._sink.lines.count("end") >= whole, "the end of all last words")
        except AssertionError:
            self.outcome.lost += whole - self._sink.lines.count("end")
            self.outcome.errors.append(f"of the last words, the server saw:\n{self._sink.log}")
        self._town.write("stop", "")
        for load in self._loads:
            result = json.loads(load.answer().splitlines()[-1])
            if result["errors"] or not result["answered"]:
                raise AssertionError(f"the load saw {result}")
        return self.outcome

    def _run_once(self) -> None:
        argv = [*MESHTX, "run", "--proxy-log", f"{self._town.folder}/proxy.log", *self._town.sidecar("client"), "--"]
        argv += [sys.executable, "-m", run_client.__name__, self._server, "80", "81", str(REQUESTS)]
        program = self._town.start("client", *argv)
        result = json.loads(program.answer(PATIENCE).splitlines()[-1])
        errors = result["errors"]
        refused = sum("ConnectionRefused" in error for error in errors)
        self.outcome.runs += 1
        self.outcome.requests += result["answered"] + len(errors) + 1
        self.outcome.refused += refused
        self.outcome.lost += len(errors) - refused
        self.outcome.errors += errors
        self._assert_gone(program)

    def _assert_gone(self, program: Program) -> None:
        if self._town.is_ready("client", 4191):
            raise AssertionError(f"the proxy outlives its command; it wrote:\n{program.log}")


def main(count: int) -> int:
    town = Town(["client", "server", "load"])
    try:
        outcome = Runs(town).run(count)
    finally:
        town.remove()
    print(outcome, *outcome.errors, sep="\n")
    return 1 if outcome.refused or outcome.lost else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100))
