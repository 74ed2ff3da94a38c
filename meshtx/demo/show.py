"""What the demo shows on a terminal: who runs where, and the verdict."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from meshtx.demo.plan import WORKLOADS
from meshtx.demo.verdict import Row, Verdict

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

    :param reasons: by client, why its connections are plaintext, as the tap said.
    """
    table = Table(title="Verdict: the raw capture held against the services' own counts", title_justify="left")
    for heading in ("from", "to", "requests", "connections", "over mutual TLS", "plaintext, because"):
        table.add_column(heading, justify="right" if heading in {"requests", "connections"} else "left")
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


def _wrong(console: Console, what: str) -> None:
    console.print(f"WRONG: {what}", style="red", markup=False, soft_wrap=True)


def _cells(row: Row, reasons: dict[str, str]) -> tuple[str, ...]:
    share = f"{100 * row.secured // row.connections} %" if row.connections else "-"
    plain = row.connections - row.secured
    because = "" if not plain else reasons.get(row.pair.client.name, "WRONG" if row.pair.meshed else "unknown")
    return row.pair.client.name, row.pair.server.name, str(row.requests), str(row.connections), share, because
