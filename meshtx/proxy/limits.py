"""What the clients of one proxy may cost it before they have said and proved what they want.

=============  ============================================  =====================  ==========================
limit          counts                                        in all                 for one source
=============  ============================================  =====================  ==========================
undecided      connections that have not said what they want  `UNDECIDED`            3/4 of that
held_bytes     what those have sent so far                    `HELD_BYTES`           1/2 of that
handshakes     TLS to us, from a whole ClientHello on         `HANDSHAKES`           1/2 of that
=============  ============================================  =====================  ==========================

Behind a node everybody is one source, so one source's part is large. Past a bound somebody goes (`meshtx.proxy.crowd`
says who), is refused as ``limit`` and counted. Fewer descriptors mean smaller bounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from twisted.internet.interfaces import IReactorTime

from meshtx.observe.metrics import Metrics
from meshtx.proxy.crowd import Bound, Crowd
from meshtx.proxy.early import MAX_EARLY_DIALS
from meshtx.proxy.turns import Turns

UNDECIDED = 16_384
"""Connections; one that is silent costs a descriptor and some 8 KB."""
HELD_BYTES = 32 * 2**20
HANDSHAKES = 1024
"""Handshakes; each costs a descriptor and up to 50 KB for seconds."""

_DECIDED = 1 / 8
"""The part of the descriptors that is left to connections that are decided, and to everything else."""
_HANDSHAKES = 1 / 8
_EARLY = 1 / 8
_UNDECIDED = 1 - _DECIDED - _HANDSHAKES - _EARLY


class Limit(StrEnum):
    """What is bounded."""

    UNDECIDED = "undecided"
    HELD_BYTES = "held_bytes"
    HANDSHAKES = "handshakes"


@dataclass(frozen=True, slots=True)
class Room:
    """How much a process has room for.

    :param early: connections to the workload whose clients have not said what they want.
    """

    undecided: int = UNDECIDED
    handshakes: int = HANDSHAKES
    early: int = MAX_EARLY_DIALS

    @classmethod
    def within(cls, descriptors: int, undecided: int = UNDECIDED) -> Room:
        """Return what fits into so many descriptors.

        :param undecided: as many are wanted.
        """
        return cls(
            min(undecided, max(1, int(descriptors * _UNDECIDED))),
            min(HANDSHAKES, max(1, int(descriptors * _HANDSHAKES))),
            min(MAX_EARLY_DIALS, int(descriptors * _EARLY)),
        )


def descriptors_for(undecided: int) -> int:
    """Return how many descriptors no bound has to be lowered for."""
    return int(max(undecided / _UNDECIDED, HANDSHAKES / _HANDSHAKES, MAX_EARLY_DIALS / _EARLY)) + 1


class Limits:
    """The bounds of one proxy."""

    def __init__(self, clock: IReactorTime, metrics: Metrics, room: Room | None = None) -> None:
        room = room or Room()
        self._metrics = metrics
        self.undecided = self._crowd(Limit.UNDECIDED, Bound(room.undecided, max(1, room.undecided * 3 // 4)))
        self.held_bytes = self._crowd(Limit.HELD_BYTES, Bound(HELD_BYTES, HELD_BYTES // 2))
        self.handshakes = self._crowd(Limit.HANDSHAKES, Bound(room.handshakes, max(1, room.handshakes // 2)))
        self.turns = Turns(clock)

    def _crowd(self, limit: Limit, bound: Bound) -> Crowd:
        crowd = Crowd(bound, lambda of: self._metrics.limit_reached(limit, of))
        self._metrics.limited(limit, bound.total, lambda: crowd.taken)
        return crowd
