"""`make bench`: what meshtx costs beside other sidecars.

    python -m benchmarks [MEASURE ...] [--peers NAMES] [--rounds N] [--seconds S] [--quick] [--json FILE]

Prints one table and, for each bar, whether it holds.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import peers, run, servers, table
from benchmarks.bars import judged
from benchmarks.ground import Ground
from meshtx.demo.privilege import become_root_of_our_own, may_make_namespaces
from meshtx.errors import MeshtxError

QUICK = (1, 2.0)
"""Rounds and seconds of each measure: all of it in less than 4 minutes."""
FULL = (5, 4.0)


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    names = [peer.name for peer in peers.ALL]
    parser = argparse.ArgumentParser(prog="benchmarks")
    parser.add_argument("what", nargs="*", metavar="MEASURE", help=f"of {', '.join(run.MEASURES)}; all without")
    parser.add_argument("--peers", default=",".join(names), help="a list with commas; all without")
    parser.add_argument("--quick", action="store_true", help="one short round: under 4 minutes")
    parser.add_argument("--rounds", type=int, help=f"{FULL[0]}, or {QUICK[0]} if quick")
    parser.add_argument("--seconds", type=float, help=f"of each measure: {FULL[1]}, or {QUICK[1]} if quick")
    parser.add_argument("--json", type=Path, help="write all values there")
    parser.add_argument("--markdown", type=Path, help="write the table there")
    options = parser.parse_args(argv)
    options.peers = options.peers.split(",")
    for given, known in ((options.what, [*run.MEASURES]), (options.peers, names)):
        if unknown := [each for each in given if each not in known]:
            parser.error(f"no {', '.join(unknown)}; there are {', '.join(known)}")
    rounds, seconds = QUICK if options.quick else FULL
    options.rounds, options.seconds = options.rounds or rounds, options.seconds or seconds
    return options


def main(argv: Sequence[str]) -> int:
    """Measure, print, and return the exit status."""
    options = arguments(argv)
    if os.geteuid() != 0 and not may_make_namespaces():
        become_root_of_our_own([sys.executable, "-m", "benchmarks", *argv])
    kinds = [peer for peer in peers.ALL if peer.name in options.peers]
    try:
        with Ground() as ground:
            servers.start(ground)
            found = run.rounds(ground, kinds, options.what or [*run.MEASURES], options.rounds, options.seconds)
    except MeshtxError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    lines = table.cells(found, options.peers)
    print(table.plain(lines), "", *judged(found), sep="\n")
    if options.json:
        options.json.write_text(json.dumps(found.values, indent=1))
    if options.markdown:
        options.markdown.write_text(table.markdown(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
