"""A bound on what strangers may take of the proxy: so much in all, and so much of that for one source.

    enter ─▶ (grow) ─▶ leave
      └────────┴─ past a source's bound:   its oldest goes
               └─ past the bound of all:   the newcomer's own oldest, if its source has more than the average of
                                           the sources; else the oldest of all

So one source pushes out nobody but itself, and several together leave each other source its part. Each step costs
the same, however many there are.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from meshtx.wire.address import IP

SourceKey = tuple[int, int]
"""Whom a bound of one source counts together: an address of IPv4; of IPv6 a network of 64 bits, which is one host's."""


def source_of(ip: IP) -> SourceKey:
    """Return who is behind an address."""
    return (4, int(ip)) if ip.version == 4 else (6, int(ip) >> 64)


@dataclass(frozen=True, slots=True)
class Bound:
    """How much there is.

    :param source: of it for one source, at most.
    """

    total: int
    source: int


class Of(StrEnum):
    """Whose bound was reached."""

    SOURCE = "source"
    PROXY = "proxy"


class Place:
    """What one connection takes; `evict` is called once, if it has to go."""

    __slots__ = ("_crowd", "_evict", "_source", "weight")

    def __init__(self, crowd: Crowd, source: SourceKey, evict: Callable[[], None]) -> None:
        self.weight = 0
        self._crowd: Crowd | None = crowd
        self._source = source
        self._evict: Callable[[], None] | None = evict

    def weigh(self, weight: int) -> None:
        """Take as much as this from now on, and no less than until now."""
        if self._crowd is not None:
            self._crowd.add(self, self._source, weight - self.weight)

    def leave(self) -> None:
        """Give it back; may be called again."""
        crowd, self._crowd, self._evict = self._crowd, None, None
        if crowd is not None:
            crowd.remove(self, self._source)

    def go(self) -> None:
        """Leave, because others need it more."""
        evict = self._evict
        self.leave()
        if evict is not None:
            evict()


class _Group:
    """What one source takes, the oldest first."""

    __slots__ = ("places", "taken")

    def __init__(self) -> None:
        self.taken = 0
        self.places: OrderedDict[Place, None] = OrderedDict()  # a dict is slow to find its first after many left


class Crowd:
    """Those that share a bound.

    :param reached: called with whose bound it was, for each that has to go.
    """

    def __init__(self, bound: Bound, reached: Callable[[Of], None] = lambda _: None) -> None:
        self.bound = bound
        self.taken = 0
        self._reached = reached
        self._places: OrderedDict[Place, None] = OrderedDict()
        self._groups: dict[SourceKey, _Group] = {}

    def enter(self, source: SourceKey, evict: Callable[[], None], weight: int = 1) -> Place:
        """Return a place; it is kept until it is left, or has to go.

        :param evict: closes the connection, once the place is not its own any more.
        """
        place = Place(self, source, evict)
        self.add(place, source, weight)
        return place

    def add(self, place: Place, source: SourceKey, weight: int) -> None:
        """Count more for a place, and have others go for it."""
        group = self._groups.get(source)
        if group is None:
            group = self._groups[source] = _Group()
        group.places[place] = self._places[place] = None
        place.weight += weight
        group.taken += weight
        self.taken += weight
        while group.taken > self.bound.source:
            self._go(next(iter(group.places)), Of.SOURCE)
        while self.taken > self.bound.total:
            crowded = group.taken * len(self._groups) > self.taken
            self._go(next(iter(group.places if crowded else self._places)), Of.PROXY)

    def remove(self, place: Place, source: SourceKey) -> None:
        """Count nothing more for a place."""
        group = self._groups[source]
        del group.places[place], self._places[place]
        group.taken -= place.weight
        self.taken -= place.weight
        if not group.places:
            del self._groups[source]

    def _go(self, place: Place, of: Of) -> None:
        self._reached(of)
        place.go()
