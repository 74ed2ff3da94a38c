"""A bound on the connections of one listener, kept by closing the one that was idle longest.

Idle clients are harmless and welcome, but must not keep new ones out.
"""

from __future__ import annotations

from collections.abc import Callable

from meshtx.errors import PeerError


class Full(PeerError):
    """As many connections as the listener takes, and all of them at work."""


class Seat:
    """One connection's place; new ones are idle."""

    def __init__(self, connections: Connections, evict: Callable[[], None]) -> None:
        self._connections = connections
        self.evict = evict

    def busy(self) -> None:
        """The connection is at work: it will not be evicted."""
        self._connections.idle.pop(self, None)

    def idle(self) -> None:
        """The connection waits for its peer, from now on."""
        if self in self._connections.seats:
            self._connections.idle[self] = None

    def leave(self) -> None:
        """Give the place up; may be called again."""
        self._connections.seats.discard(self)
        self._connections.idle.pop(self, None)
        self.evict = _gone  # what it was leads to the connection, which keeps its seat


class Connections:
    """The places of one listener.

    :param limit: how many there are.
    :param limited: called whenever that costs somebody a connection.
    """

    def __init__(self, limit: int, limited: Callable[[], None] = lambda: None) -> None:
        self._limit = limit
        self._limited = limited
        self.seats: set[Seat] = set()
        self.idle: dict[Seat, None] = {}
        """In the order in which they became idle."""

    def enter(self, evict: Callable[[], None]) -> Seat:
        """Take a place for a connection; it holds it until it leaves or is evicted.

        :param evict: closes the connection.
        :raises Full: nobody could be evicted.
        """
        if len(self.seats) >= self._limit:
            self._limited()
            oldest = next(iter(self.idle), None)
            if oldest is None:
                raise Full(f"{self._limit} connections, all at work")
            close = oldest.evict
            oldest.leave()
            close()
        seat = Seat(self, evict)
        self.seats.add(seat)
        seat.idle()
        return seat


def _gone() -> None:
    """Take the place of what closes a connection, once that has left."""
