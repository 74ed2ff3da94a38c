"""All pairs of proxies that are compared."""

from __future__ import annotations

import sys

from benchmarks.peers import meshtx, others
from benchmarks.peers.peer import INBOUND_PORT, OUTBOUND_PORT, Argv, Peer, Place


def _bare(place: Place) -> tuple[Argv, Argv]:
    half, values = [sys.executable, "-m", "benchmarks.peers.bare"], place.certificates
    to_inbound, to_server = ([place.inbound, str(port)] for port in (INBOUND_PORT, place.port))

    def proof(role: str, peer: str) -> list[str]:
        return [values["ca"], values[f"{role}_chain"], values[f"{role}_key"], values[f"{peer}_name"]]

    return (
        [*half, "outbound", place.outbound, str(OUTBOUND_PORT), *to_inbound, *proof("client", "server")],
        [*half, "inbound", *to_inbound, *to_server, *proof("server", "client")],
    )


FLOOR = Peer("bare", _bare)

ALL: tuple[Peer, ...] = (*meshtx.PEERS, *others.PEERS, FLOOR)
