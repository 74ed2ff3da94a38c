"""The pairs of proxies that are compared."""

from __future__ import annotations

from benchmarks.peers import meshtx, others
from benchmarks.peers.peer import Peer

ALL: tuple[Peer, ...] = (*meshtx.PEERS, *others.PEERS)
