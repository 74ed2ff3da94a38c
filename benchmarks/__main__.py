"""`make bench`: what meshtx costs beside other sidecars.

    python -m benchmarks [--quick] [MEASURE ...] [--peers NAMES] [--rounds N] [--seconds S] [--write-readme]
    python -m benchmarks --from FILE [--write-readme]

`--help` has the rest. Prints one table of ratios and, for each bar, whether it holds. README.md beside this file says
how to read it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path

from benchmarks import pages, run, servers
from benchmarks.ground import Ground
from benchmarks.measures.churn import churn
from benchmarks.measures.scale import scale
from benchmarks.peers.roster import ALL
from benchmarks.record import Record, about, key_exchanges
from meshtx.demo.privilege import become_root_of_our_own, may_make_namespaces
from meshtx.errors import MeshtxError

QUICK = (1, 1.0)
"""Rounds and seconds of each measure: all pairs in less than 4 minutes."""
FULL = (5, 4.0)
CHURN = 600.0
"""Seconds of churn."""
STUDIES = ("scale", "churn")
"""What is measured of our own pairs alone, and not if quick, unless it is named."""
JSON = Path(__file__).parent / "results" / "results.json"


def some(number: Callable[[str], float]) -> Callable[[str], float]:
    """Return what reads a number that is more than nothing."""

    def read(text: str) -> float:
        found = number(text)
        if not 0 < found < inf:
            raise argparse.ArgumentTypeError(f"{text!r} is not more than nothing")
        return found

    read.__name__ = "number"  # what is no number at all is told so
    return read


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    names = [peer.name for peer in ALL]
    known = [*run.MEASURES, *STUDIES]
    parser = argparse.ArgumentParser(prog="benchmarks")
    parser.add_argument("what", nargs="*", metavar="MEASURE", help=f"of {', '.join(known)}; all without")
    parser.add_argument("--peers", default=",".join(names), help="a list with commas; without, %(default)s")
    parser.add_argument("--quick", action="store_true", help="one short round of all pairs: under 4 minutes")
    parser.add_argument("--rounds", type=some(int), help=f"{FULL[0]}, or {QUICK[0]} if quick")
    parser.add_argument("--seconds", type=some(float), help=f"of each measure: {FULL[1]:g}, or {QUICK[1]:g} if quick")
    parser.add_argument("--churn-seconds", type=some(float), default=CHURN, help="of churn: %(default)g")
    parser.add_argument("--json", type=Path, default=JSON, help="where all values are written")
    parser.add_argument("--keep", action="store_true", help="keep the sections of that file which are not measured now")
    parser.add_argument("--from", type=Path, dest="source", help="measure nothing, show what a JSON file has")
    parser.add_argument("--write-readme", action="store_true", help="write the tables of README.md and its like here")
    options = parser.parse_args(argv)
    options.peers = options.peers.split(",")
    for given, there in ((options.what, known), (options.peers, names)):
        if unknown := [each for each in given if each not in there]:
            parser.error(f"no {', '.join(unknown)}; there are {', '.join(there)}")
    options.what = options.what or [*run.MEASURES, *(() if options.quick else STUDIES)]
    rounds, seconds = QUICK if options.quick else FULL
    options.rounds, options.seconds = options.rounds or rounds, options.seconds or seconds
    return options


def measure(options: argparse.Namespace) -> Record:
    """Measure what was asked for."""
    kinds = [peer for peer in ALL if peer.name in options.peers]
    with Ground() as ground:
        servers.start(ground)
        how = {"rounds": str(options.rounds), "seconds of each measure": f"{options.seconds:g}"}
        record = Record({**about(ground), **how})
        record.pairs = run.rounds(ground, kinds, options.what, options.rounds, options.seconds)
        if "scale" in options.what:
            record.scale = scale(ground, options.rounds, options.seconds)
        if "churn" in options.what:
            record.churn = churn(ground, options.churn_seconds)
        record.about["key exchange"] = key_exchanges(ground.key_exchanges)
    return record


def recorded(options: argparse.Namespace) -> Record:
    """Measure, and write it down; what would be in the way then is found before."""
    before = Record.load(options.json) if options.keep and options.json.exists() else None
    Record.insist_on(options.json)
    record = measure(options)
    if before:
        record.take(before)
    record.save(options.json)
    return record


def gain_namespaces(argv: Sequence[str]) -> None:
    """Start the program anew in a user namespace if it is to measure and may make no namespaces as it is.

    Apart from `main`, which others may call: this replaces the process.
    """
    if not arguments(argv).source and os.geteuid() != 0 and not may_make_namespaces():
        become_root_of_our_own([sys.executable, "-m", "benchmarks", *argv])


def main(argv: Sequence[str]) -> int:
    """Measure, print, and return the exit status."""
    options = arguments(argv)
    try:
        record = Record.load(options.source) if options.source else recorded(options)
        print(pages.terminal(record, options.peers))
        if options.write_readme:
            pages.write(record)
    except MeshtxError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    gain_namespaces(sys.argv[1:])
    sys.exit(main(sys.argv[1:]))
