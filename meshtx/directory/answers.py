"""The answers that a sidecar keeps: so many, and none that nobody has asked for in a while. No I/O, no clock."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from meshtx.directory.messages import Found
from meshtx.wire.address import Address

MOST = 10_000
"""Addresses."""


class _Kept:
    __slots__ = ("found", "used")

    def __init__(self, found: Found, used: float) -> None:
        self.found = found
        self.used = used


class Answers:
    """By address, the one used last at the end.

    :param most: addresses; past it the one goes that was not used for longest.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._kept: OrderedDict[Address, _Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[Address]:
        return iter(self._kept)

    def __contains__(self, address: Address) -> bool:
        return address in self._kept

    def use(self, address: Address, now: float) -> Found | None:
        """Return what is known of an address that somebody connects to."""
        kept = self._kept.get(address)
        if kept is None:
            return None
        kept.used = now
        self._kept.move_to_end(address)
        return kept.found

    def add(self, address: Address, found: Found, now: float) -> list[Address]:
        """Keep a new answer; return the addresses that had to go for it."""
        self._kept[address] = _Kept(found, now)
        self._kept.move_to_end(address)
        gone: list[Address] = []
        while len(self._kept) > self._most:
            gone.append(self._kept.popitem(last=False)[0])
        return gone

    def change(self, address: Address, found: Found) -> bool:
        """Put another answer in the place of an old one; return whether there is one."""
        kept = self._kept.get(address)
        if kept is None:
            return False
        kept.found = found
        return True

    def drop(self, address: Address) -> None:
        """Know nothing of it any more."""
        self._kept.pop(address, None)

    def unused(self, since: float) -> list[Address]:
        """Drop what has not been used since then; return it."""
        gone: list[Address] = []
        for address, kept in self._kept.items():
            if kept.used >= since:
                break
            gone.append(address)
        for address in gone:
            del self._kept[address]
        return gone
