"""``meshtx demo``: a whole mesh of example services on this machine, and the proof that it is mutual TLS."""

from __future__ import annotations

import sys

import click
from rich.console import Console

from meshtx.demo import needs
from meshtx.demo.ground import Namespaces
from meshtx.demo.loopback import Loopback
from meshtx.demo.mesh import Break
from meshtx.demo.privilege import AS_ROOT_OF_OUR_OWN, become_root_of_our_own, may_make_namespaces
from meshtx.demo.run import Demo


@click.command("demo")
@click.option(
    "--rounds", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How often the bot votes."
)
@click.option(
    "--break",
    "broken",
    type=click.Choice([each.value for each in Break]),
    help="Break one thing on purpose, and see that the demo finds it.",
)
@click.option("--explicit", is_flag=True, help="Without namespaces and redirect: explicit listeners on loopback.")
@click.option("--keep", is_flag=True, help="Stay up afterwards, and print what to try.")
def command(*, rounds: int, broken: str | None, explicit: bool, keep: bool) -> int:
    """Run a mesh of example services on this machine and judge it by what crossed the wire.

    Exits 0 only if everything was as it should be. Leaves nothing behind.
    """
    console = Console(highlight=False)
    if not explicit and not may_make_namespaces():
        if may_make_namespaces(*AS_ROOT_OF_OUR_OWN):
            become_root_of_our_own([sys.executable, "-m", "meshtx", *sys.argv[1:]])
        console.print("This user may make no network namespaces: the demo runs with explicit listeners instead.\n")
        explicit = True
    ground = Loopback if explicit else Namespaces
    needs.check(ground.programs)
    demo = Demo(console, ground, rounds, Break(broken) if broken else None, keep)
    return 0 if demo.run() else 1
