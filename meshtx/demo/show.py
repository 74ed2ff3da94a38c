"""What the demo shows on a terminal: who runs where, and the verdict."""

from __future__ import annotations

import re
import shlex
import sys

from rich.console import Console
from rich.table import Table

from meshtx.demo.ground import Ground
from meshtx.demo.mesh import Mesh
from meshtx.demo.plan import BOT, NAMESPACE, WEB, WORKLOADS
from meshtx.demo.verdict import Row, Verdict
from meshtx.wire.ports import PROXY_INBOUND

PICTURE = """\
   vote-bot ─▶ sidecar ══▶ sidecar ─▶ web ─▶ sidecar ═╦▶ sidecar ─▶ emoji       ══ mutual TLS
                              ▲                       ╚▶ sidecar ─▶ voting      ── plaintext
   outside (no sidecar) ──────┘              identity: certificates to all sidecars
"""


def picture(console: Console, about: str, addresses: dict[str, str]) -> None:
    """Show who runs where."""
    console.print(f"Five programs, {about}:\n", soft_wrap=True)
    console.print(PICTURE, soft_wrap=True)
    console.print("   " + "  ".join(f"{w.name} {addresses[w.name]}" for w in WORKLOADS) + "\n", soft_wrap=True)


def verdict(console: Console, judged: Verdict, reasons: dict[str, str]) -> None:
    """Show the verdict, as a table and in words.

    :param reasons: by server, why it has plaintext connections, as the tap said.
    """
    table = Table(title="Verdict: the raw capture held against the services' own counts", title_justify="left")
    for heading in ("from", "to", "requests", "connections", "mutual TLS", "plaintext, because"):
        table.add_column(
            heading, justify="right" if heading in {"requests", "connections"} else "left", overflow="fold"
        )
    for row in judged.rows:
        table.add_row(*_cells(row, reasons), style=None if not row.problems else "red")
    console.print(table)
    for row in judged.rows:
        for problem in row.problems:
            _wrong(console, f"{row.pair.client.name} -> {row.pair.server.name}: {problem}")
    for problem in judged.problems:
        _wrong(console, problem)
    if judged.good:
        console.print("All is well: every connection between meshed workloads was mutual TLS.", style="green")


def refusals(console: Console, lines: list[str]) -> None:
    """Show why the sidecars have refused connections, each reason once."""
    seen: set[str] = set()
    for line in lines:
        where, _, why = line.partition(" reason=")
        key = re.sub(r"id=\S+|src=\S+", "", where) + why
        if line.startswith("refused") and key not in seen:
            seen.add(key)
            console.print(line, markup=False, soft_wrap=True)


def trials(console: Console, mesh: Mesh, ground: Ground) -> None:
    """Show what can be tried while the mesh is up."""
    web = ground.reach(BOT, WEB)
    tap = [sys.executable, "-m", "meshtx", "tap", f"web.{NAMESPACE}@{ground.addresses['web']}", *mesh.tap_options()]
    lines = [
        "The mesh stays up, the bot votes; Ctrl-C ends it. In another terminal (as root, if this was root):",
        "",
        f"  {ground.enter('operator')}{shlex.join(tap)}",
        f"  {ground.enter('vote-bot')}curl http://{web}/api/list",
    ]
    if capture := ground.enter("fabric"):
        lines.append(f"  {capture}tcpdump -i br0 -A tcp port {PROXY_INBOUND} or tcp port {ground.port(WEB)}")
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def _wrong(console: Console, what: str) -> None:
    console.print(f"WRONG: {what}", style="red", markup=False, soft_wrap=True)


def _cells(row: Row, reasons: dict[str, str]) -> tuple[str, ...]:
    share = f"{100 * row.secured // row.connections} %" if row.connections and row.requests else "-"
    plain = row.connections - row.secured
    because = reasons.get(row.pair.server.name, "unknown") if plain else ""
    return row.pair.client.name, row.pair.server.name, str(row.requests), str(row.connections), share, because
