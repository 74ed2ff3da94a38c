"""`make lab`: what a client waits for behind a load balancer, and whether that is little enough.

    python -m tests.mesh.loadbalancer.lab [stall] [banner] [dribble] [hellos] [silent] [syns] [--rounds N] [--seconds S]

Without a name it measures all. It prints tables and then, for each bar, PASS or FAIL; it fails if one does.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from tests.mesh.loadbalancer import more
from tests.mesh.loadbalancer.figures import CELLS, Bar, Cell, Figures, bars, known, table
from tests.mesh.loadbalancer.hellos import hellos
from tests.mesh.loadbalancer.street import SERVICES, Street, Traffic, answers
from tests.mesh.loadbalancer.syns import syns
from tests.mesh.town import why_not

SILENT = 200
DEADLINE = 3.0
"""Seconds that each hello is waited for."""


def stall(rounds: int, seconds: float) -> list[Bar]:
    """Measure policy by proxy, in rounds of all: what disturbs the machine disturbs them alike."""
    street = Street()
    try:
        cells: dict[Cell, Figures] = {cell: Figures(DEADLINE) for cell in CELLS}
        pairs = list(SERVICES)
        seen = {traffic: street.seen(traffic) for traffic in Traffic}
        for number in range(rounds):
            for traffic, proxy in pairs[number % len(pairs) :] + pairs[: number % len(pairs)]:
                with street.besieged(traffic, proxy, SILENT):
                    found = answers(street.ask(traffic, proxy, seconds=seconds, deadline=DEADLINE))
                for cell in (each for each in CELLS if each[:2] == (traffic, proxy)):
                    cells[cell].add(each for each in found if each.kind == cell[2])
            print(f"round {number + 1} of {rounds} is done", file=sys.stderr, flush=True)
    finally:
        street.town.remove()
    print(table(cells), flush=True)
    return [*known(seen), *bars(cells)]


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="lab")
    doings: dict[str, Callable[[int, float], list[Bar]]] = {
        "stall": stall,
        "banner": lambda *_: more.banner(),
        "dribble": lambda *_: more.dribble(),
        "hellos": lambda *_: hellos(),
        "silent": lambda *_: more.silent(),
        "syns": lambda *_: syns(),
    }
    parser.add_argument("what", nargs="*", help=f"of {', '.join(doings)}; all without")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each cell of each round")
    options = parser.parse_args(argv)
    if unknown := [each for each in options.what if each not in doings]:
        parser.error(f"no {', '.join(unknown)}; there are {', '.join(doings)}")
    if reason := why_not():
        print(f"lab: {reason}", file=sys.stderr)
        return 2
    found = [bar for each in options.what or doings for bar in doings[each](options.rounds, options.seconds)]
    print("", *found, sep="\n")
    return 0 if all(bar.met for bar in found) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
