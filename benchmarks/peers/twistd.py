"""twistd, with something of the proxy changed that no setting changes.

    python -m benchmarks.peers.twistd CHANGE[,CHANGE...] TWISTD-ARGUMENT...

- ``one_shot`` speaks Linkerd's form, which carries one connection: every connection pays for its handshake.
- ``many_legs`` lifts the bounds of idle legs, so that what they cost can be seen where there are too many.
- ``counted`` writes how many objects Python has on each SIGUSR2.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from types import FrameType

from twisted.scripts.twistd import run

from meshtx.net import leg_pool, legs
from meshtx.proxy import mesh_tls, served_legs
from meshtx.proxy.crowd import Bound

MANY = 20_000
LONG = 3600.0
"""Seconds that an idle leg is borne: it must not end while others are measured."""
OBJECTS = "objects of Python:"
"""Begins the line that ``counted`` writes."""


def one_shot() -> None:
    """Offer no legs to peers, and take none."""
    mesh_tls.PROTOCOLS = (mesh_tls.LINKERD,)  # type: ignore[assignment]  # two of them, otherwise


def many_legs() -> None:
    """Bear and keep as many idle legs as there come."""
    leg_pool.MAX_IDLE = MANY
    leg_pool.IDLE = legs.SILENCE = LONG
    served_legs.ServedLegs.__init__.__defaults__ = (Bound(MANY, MANY),)


def counted() -> None:
    """Count when asked to. What was there before the first connection is frozen and does not count."""

    def count(_number: int, _frame: FrameType | None) -> None:
        os.write(1, f"{OBJECTS} {len(gc.get_objects())}\n".encode())

    signal.signal(signal.SIGUSR2, count)


CHANGES = {"one_shot": one_shot, "many_legs": many_legs, "counted": counted}


def main(changes: str, *argv: str) -> None:
    """Change, and run."""
    for change in changes.split(","):
        CHANGES[change]()
    sys.argv = ["twistd", *argv]
    run()


if __name__ == "__main__":
    main(*sys.argv[1:])
