"""All pairs of proxies that are compared."""

from __future__ import annotations

import sys

from benchmarks.peers import meshtx, others
from benchmarks.peers.peer import INBOUND_PORT, OUTBOUND_PORT, Argv, Peer, Place


def _bare(place: Place) -> tuple[Argv, Argv]:
    half = [sys.executable, "-m", "benchmarks.peers.bare"]
    to_inbound = [place.inbound, str(INBOUND_PORT)]
    return (
        [*half, "outbound", place.outbound, str(OUTBOUND_PORT), *to_inbound],
        [*half, "inbound", *to_inbound, place.inbound, str(place.port)],
    )


FLOOR = Peer("bare", _bare, tls=False)

ALL: tuple[Peer, ...] = (*meshtx.PEERS, *others.PEERS, FLOOR)
