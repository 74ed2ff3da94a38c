"""Who speaks first on a port of the workload: learned from its connections, forgotten by none but newer ones.

    UNKNOWN ── the server did ─▶ SERVER_FIRST ◀── the server did ── CLIENT_FIRST
       │  ◀── the client did ───────┘                                    ▲
       └── the client did ───────────────────────────────────────────────┘

A wrong guess costs time and corrects itself: the workload is dialled in every state, sooner or later, and who is
then the first is learned. One client that speaks out of turn does not silence a server that speaks first: two in
succession must.
"""

from __future__ import annotations

from enum import StrEnum

MAX_PORTS = 1024
"""Ports that are remembered; what is learned of one more takes the place of what was learned first."""

GRACE = 0.015
"""Seconds that a meshed client has for the first byte of its ClientHello: it sends that as soon as it is connected."""

SILENCE = 1.0
"""Seconds of silence on a port whose clients speak first: most probes of balancers have gone by then."""


class Speaker(StrEnum):
    """Who speaks first on a port."""

    UNKNOWN = "unknown"
    SERVER_FIRST = "server_first"
    CLIENT_FIRST = "client_first"


_HEARD_CLIENT = {
    Speaker.UNKNOWN: Speaker.CLIENT_FIRST,
    Speaker.SERVER_FIRST: Speaker.UNKNOWN,
    Speaker.CLIENT_FIRST: Speaker.CLIENT_FIRST,
}


def patience(speaker: Speaker, *, may_be_meshed: bool = True) -> float:
    """Return for how many seconds of the client's silence the workload is not dialled.

    :param may_be_meshed: a ClientHello for us may be on its way from there.
    """
    match speaker:
        case Speaker.CLIENT_FIRST:
            return SILENCE
        case Speaker.SERVER_FIRST:
            return 0.0
        case Speaker.UNKNOWN:
            return GRACE if may_be_meshed else 0.0


class Speakers:
    """What is known of the ports of one workload.

    :param limit: how many ports are remembered.
    """

    def __init__(self, limit: int = MAX_PORTS) -> None:
        self._limit = limit
        self._ports: dict[int, Speaker] = {}

    def __len__(self) -> int:
        return len(self._ports)

    def of(self, port: int) -> Speaker:
        """Return who speaks first there."""
        return self._ports.get(port, Speaker.UNKNOWN)

    def server_spoke(self, port: int) -> None:
        """Learn that a client said nothing and heard something."""
        self._learn(port, Speaker.SERVER_FIRST)

    def client_spoke(self, port: int) -> None:
        """Learn that a client spoke before the workload did."""
        self._learn(port, _HEARD_CLIENT[self.of(port)])

    def _learn(self, port: int, speaker: Speaker) -> None:
        if port not in self._ports and len(self._ports) >= self._limit:
            del self._ports[next(iter(self._ports))]
        self._ports[port] = speaker
