"""The legs that other proxies keep to this one: how many may wait for nothing, and how they are told to go.

Only the client closes an idle leg, for its next OPEN may be on its way: a server asks for that by RETIRE, and closes
what does not go. It asks on new credentials, when the proxy stops, and past the bounds of idle legs.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from meshtx.net.leg_book import Entry, LegBook, Retirement
from meshtx.net.legs import LegCall, LegServer
from meshtx.observe.flow import Direction
from meshtx.observe.metrics import Metrics
from meshtx.proxy.crowd import Bound, Crowd, Place, SourceKey, source_of
from meshtx.proxy.ends import Live
from meshtx.proxy.mesh_tls import MeshTls
from meshtx.wire.address import IP
from meshtx.wire.leg_frames import Open

IDLE = Bound(1024, 256)
"""Idle legs: 40 MB. A client of ours keeps no more than 256, to all its peers together."""


class _Leg(Entry):
    """:param source: who is at its other end."""

    __slots__ = ("place", "source")

    def __init__(self, source: SourceKey) -> None:
        super().__init__()
        self.source = source
        self.place: Place | None = None


class ServedLegs(LegBook[LegServer, _Leg]):
    """The legs of one proxy's peers to it.

    :param bound: of idle legs.
    """

    def __init__(self, clock: IReactorTime, tls: MeshTls, metrics: Metrics, bound: Bound = IDLE) -> None:
        super().__init__(metrics.legs(Direction.IN))
        tls.renewed.append(self.renew)
        self._clock = clock
        self._crowd = Crowd(bound)

    def leg(self, source: IP, opened: Callable[[Open, LegCall], None]) -> LegServer:
        """Return a new one, to be put on the connection that a handshake has just established."""
        leg = LegServer(opened, self, self._clock)
        self.enter(leg, _Leg(source_of(source)))
        return leg

    def renew(self) -> None:
        """Have no present leg used again: there are new credentials, or a new trust bundle."""
        self._retire_all(Retirement.CREDENTIALS)

    def stop(self, live: Live) -> None:
        """Have no leg used again; the proxy's end waits for them."""
        self.hold_all(live)
        self._retire_all(Retirement.STOPPING)

    def idle(self, leg: LegServer) -> None:
        """Give it a place among the idle ones."""
        entry = self.legs[leg]
        super().idle(leg)
        if self.hold is not None:
            self._retire(leg, Retirement.STOPPING)
        entry.place = self._crowd.enter(entry.source, lambda: self._retire(leg, Retirement.LIMIT))

    def _stir(self, leg: LegServer) -> bool:
        entry = self.legs[leg]
        place, entry.place = entry.place, None
        if place is not None:
            place.leave()
        return super()._stir(leg)

    def _retire_all(self, why: Retirement) -> None:
        for leg in list(self.legs):
            self._retire(leg, why)

    def _retire(self, leg: LegServer, why: Retirement) -> None:
        self.legs[leg].why = self.legs[leg].why or why
        leg.retire()
