"""The account of one side's legs: which there are, which are idle, why they end."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from enum import StrEnum
from typing import Generic, Protocol, TypeVar


class Retirement(StrEnum):
    """Why a leg carries no further connection."""

    CREDENTIALS = "credentials"
    """There are new credentials, or a new trust bundle."""
    EXPIRED = "certificate_expired"
    """The peer's certificate has expired."""
    AGE = "age"
    IDLE = "idle"
    """Nothing came for it in time."""
    LIMIT = "limit"
    """Too many were idle."""
    STOPPING = "stopping"
    PEER = "peer"
    """The other side ended it, or was gone."""
    CONNECTION = "connection"
    """It ended with its connection: refused, reset, or cut off."""


class LegCounts(Protocol):
    """Counts what happens to legs."""

    def opened(self) -> None:
        """There is another one."""

    def reused(self) -> None:
        """One carries another connection than its first."""

    def idle(self, number: Callable[[], int]) -> None:
        """Take what tells how many are idle."""

    def retired(self, why: Retirement) -> None:
        """One has ended."""


class Ending(Protocol):
    """What ends some time, and can be ended."""

    def abort(self) -> None:
        """End it now."""


class Hold(Protocol):
    """Who waits for ends."""

    def hold(self, ending: Ending) -> None:
        """Wait for its end."""

    def release(self, ending: Ending) -> None:
        """Wait for it no more."""


L_contra = TypeVar("L_contra", contravariant=True)


class LegOwner(Protocol[L_contra]):
    """Who keeps account of legs."""

    def idle(self, leg: L_contra) -> None:
        """Take note: it carries no connection now."""

    def busy(self, leg: L_contra) -> None:
        """Take note: it carries one."""

    def gone(self, leg: L_contra) -> None:
        """Take note: it is lost."""


L = TypeVar("L", bound=Ending)


class Entry:
    """What is known of one leg."""

    __slots__ = ("connections", "why")

    def __init__(self) -> None:
        self.connections = 0
        self.why: Retirement | None = None
        """Set once it is to carry no further connection."""


E = TypeVar("E", bound=Entry)


class LegBook(Generic[L, E]):
    """Keeps account as their `LegOwner`."""

    def __init__(self, counts: LegCounts) -> None:
        self.legs: dict[L, E] = {}
        self.resting: OrderedDict[L, None] = OrderedDict()
        """The idle ones, in the order in which they became so."""
        self.hold: Hold | None = None
        self._counts = counts
        counts.idle(self.resting.__len__)

    def enter(self, leg: L, entry: E) -> None:
        """Take in a new leg."""
        self.legs[leg] = entry
        self._counts.opened()
        if self.hold is not None:
            self.hold.hold(leg)

    def idle(self, leg: L) -> None:
        """See `LegOwner.idle`."""
        self.resting[leg] = None

    def busy(self, leg: L) -> None:
        """See `LegOwner.busy`."""
        self._stir(leg)
        entry = self.legs[leg]
        entry.connections += 1
        if entry.connections > 1:
            self._counts.reused()

    def gone(self, leg: L) -> None:
        """See `LegOwner.gone`."""
        rested = self._stir(leg)
        entry = self.legs.pop(leg)
        self._counts.retired(entry.why or (Retirement.PEER if rested else Retirement.CONNECTION))
        if self.hold is not None:
            self.hold.release(leg)

    def hold_all(self, hold: Hold) -> None:
        """Have the end of every leg waited for."""
        self.hold = hold
        for leg in self.legs:
            hold.hold(leg)

    def _stir(self, leg: L) -> bool:
        rested = leg in self.resting
        if rested:
            del self.resting[leg]
        return rested
