"""Send every kind of hostile input to every port, and print how long the loop was held; fails if a bound is passed.

python -m tests.mesh.strangers [KIND ...] [--port PORT ...] [--target TARGET ...] [--scale X]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.mesh.strangers.kinds import KINDS
from tests.mesh.strangers.programs import TARGETS
from tests.mesh.strangers.report import HEAD, Row, rows_of, run
from tests.mesh.strangers.sender import Sender
from tests.mesh.strangers.watching import Live


def measure(target_name: str, kinds: Sequence[str], ports: Sequence[str], scale: float) -> list[Row]:
    """Measure one program, and print a row for each kind and port."""
    found = []
    with tempfile.TemporaryDirectory(prefix="meshtx-strangers-") as folder:
        target = TARGETS[target_name](Path(folder))
        live, sender = Live(target.admin, target.program.process.pid), Sender(target, scale)
        try:
            if target.serves is not None:
                target.serves()
            for kind, port in rows_of(target, list(kinds), list(ports)):
                found.append(run(target, live, sender, kind, port))
                print(found[-1], flush=True)
        finally:
            live.close()
            sender.close()
            target.stop()
    return found


def main(argv: Sequence[str]) -> int:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(prog="strangers")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(map(repr, KINDS))}; all without")
    parser.add_argument("--port", action="append", default=[], help="all without")
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="all without")
    parser.add_argument("--scale", type=float, default=1.0, help="the share of the whole that is sent")
    options = parser.parse_args(argv)
    if unknown := [each for each in options.kinds if each not in KINDS]:
        parser.error(f"no kind {', '.join(unknown)}")
    print(HEAD, flush=True)
    targets = options.target or TARGETS
    found = [row for each in targets for row in measure(each, options.kinds, options.port, options.scale)]
    print(f"{sum(row.passes for row in found)} of {len(found)} rows keep to their bounds")
    return 0 if all(row.passes for row in found) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
