"""One run of the demo, from nothing to a verdict and to nothing again."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from rich.console import Console

from meshtx.demo import show, stranger
from meshtx.demo.capture import Stream
from meshtx.demo.ground import Ground
from meshtx.demo.lab import Lab
from meshtx.demo.mesh import Break, Mesh
from meshtx.demo.plan import BOT, CLIENTS, LIST, LIST_ALL, OUTSIDE, SECRETS, SERVERS, WEB, pairs
from meshtx.demo.tap_lines import TapLines
from meshtx.demo.verdict import Verdict, judge

SETTLE = 3.0
"""Seconds in which the tap's last lines may come."""
_REASON = re.compile(r"proxy=in +.*?dst=(\S+):\d+ tls=(\S+)")


@dataclass(frozen=True)
class Demo:
    """What was asked for.

    :param rounds: how often the bot lists and votes.
    :param keep: show how to try things, and stay up until told to stop.
    """

    console: Console
    ground: Callable[[Lab], Ground]
    rounds: int
    broken: Break | None
    keep: bool

    def run(self) -> bool:
        """Run it, and return whether all was as it should be.

        :raises MeshtxError: it could not be set up.
        """
        with Lab() as lab:
            ground = self.ground(lab)
            show.picture(self.console, ground.about, ground.addresses)
            mesh = Mesh(lab, ground, self.broken)
            ground.record()
            for what, step in (
                ("certificate authority", mesh.start_identity),
                ("sidecars", mesh.start_sidecars),
                ("services", mesh.start_services),
            ):
                with self._timed(what):
                    step()
            lines = self._traffic(lab, mesh)
            verdict = self._judge(mesh, ground, ground.recorded(), lines)
            show.verdict(self.console, verdict, _reasons(lines.all, ground))
            if not verdict.good:
                show.refusals(self.console, lines.all)
            if self.keep:
                self._stay(mesh, ground)
            return verdict.good

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        begun = time.monotonic()
        yield
        self.console.print(f"{what}: up in {time.monotonic() - begun:.1f} s", highlight=False)

    def _traffic(self, lab: Lab, mesh: Mesh) -> TapLines:
        """Let the clients ask, and show the tap's lines as they come."""
        tap = mesh.start_tap()
        self.console.print("\nmeshtx tap (of many alike, the first few):\n", highlight=False)
        lines = TapLines(lab.folder / "operator-tap.log")
        clients = [mesh.start_client(OUTSIDE, min(self.rounds, 3)), mesh.start_client(BOT, self.rounds)]
        while any(client.poll() is None for client in clients):
            self._show(lines)
            time.sleep(0.05)
        deadline = time.monotonic() + SETTLE
        while time.monotonic() < deadline and not (_complete(lines.all) or self.broken):
            self._show(lines)
            time.sleep(0.05)
        self._show(lines)
        tap.terminate()
        self.console.print()
        return lines

    def _show(self, lines: TapLines) -> None:
        for line in lines.new():
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _judge(self, mesh: Mesh, ground: Ground, streams: list[Stream], lines: TapLines) -> Verdict:
        asked = {client.name: mesh.counts(client) for client in CLIENTS}
        served = {server.name: mesh.counts(server) for server in SERVERS}
        verdict = judge(pairs(ground.addresses), streams, asked, served, (*SECRETS, *mesh.tokens))
        problems = [*verdict.problems, *tap_problems(lines.all), *self._knock(ground)]
        return replace(verdict, problems=tuple(problems))

    def _knock(self, ground: Ground) -> list[str]:
        """Let a stranger without a certificate knock at a sidecar."""
        where = [ground.addresses[WEB.name], str(ground.inbound_port(OUTSIDE)), str(WEB.identity)]
        knocked = ground.start(OUTSIDE.name, [sys.executable, "-m", stranger.__name__, *where], log="stranger")
        return [] if knocked.wait() == 0 else ["a client without a certificate was let in by web's sidecar"]

    def _stay(self, mesh: Mesh, ground: Ground) -> None:
        """Keep the traffic going until somebody presses Ctrl-C."""
        show.trials(self.console, mesh, ground)
        with suppress(KeyboardInterrupt):
            while True:
                mesh.start_client(BOT, 100).wait()


def _complete(lines: list[str]) -> bool:
    return not tap_problems(lines)


def tap_problems(lines: list[str]) -> list[str]:
    """Say which of the requests that must have been seen on both sides were not seen over mutual TLS."""
    problems = []
    for request in (LIST, LIST_ALL):
        method, path = request.split(" ")
        for proxy in ("proxy=out ", "proxy=in "):
            wanted = (proxy, "tls=true", f":method={method} ", f":path={path} ")
            if not any(line.startswith("req") and all(part in f"{line} " for part in wanted) for line in lines):
                problems.append(f"the tap has shown no {proxy.strip()} tls=true line of {request}")
    return problems


def _reasons(lines: list[str], ground: Ground) -> dict[str, str]:
    names = {address: name for name, address in ground.addresses.items()}
    found = (match for match in map(_REASON.search, lines) if match)
    return {names[m[1]]: m[2] for m in found if m[1] in names and m[2] != "true"}
