"""``meshtx demo``: a whole mesh of example services on this machine, and the proof that it is mutual TLS."""

from __future__ import annotations

import click
from rich.console import Console

from meshtx.demo.ground import Namespaces
from meshtx.demo.mesh import Break
from meshtx.demo.run import Demo


@click.command("demo")
@click.option(
    "--rounds", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How often the bot votes."
)
@click.option(
    "--break",
    "broken",
    type=click.Choice(Break),
    help="Break one thing on purpose, and see that the demo finds it.",
)
@click.option("--keep", is_flag=True, help="Stay up afterwards, and print what to try.")
def command(rounds: int, broken: Break | None, keep: bool) -> int:
    """Run a mesh of example services on this machine and judge it by what crossed the wire.

    Exits 0 only if everything was as it should be. Leaves nothing behind.
    """
    console = Console(highlight=False)
    return 0 if Demo(console, Namespaces, rounds, broken, keep).run() else 1
