"""What the parsers of headers that come once, before a connection's bytes, have in common.

    READING ──whole──▶ READ, what comes behind it is kept unread
       └─────cannot be one──▶ MALFORMED, nothing is kept

Bytes in, header out; no I/O, no clock.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from meshtx.wire.malformed import Malformed

H = TypeVar("H")


class HeaderParser(ABC, Generic[H]):
    """Reads one header; holds at most the header, and what came behind it.

    A parser of a format says in `_read` what the bytes held so far are.
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self._end = 0
        """Where the header ends in `_held`, 0 before that is known."""
        self._verdict: H | Malformed | None = None

    @property
    def held(self) -> int:
        """Bytes kept: the header's and those behind it."""
        return len(self._held)

    def receive_data(self, data: bytes) -> H | Malformed | None:
        """Return the header once it is whole, Malformed as soon as it cannot be one, None before.

        :param data: any number of bytes, split anywhere. Bytes fed behind the header are kept for `rest`.
        """
        if isinstance(self._verdict, Malformed):
            return self._verdict
        self._held += data
        if self._verdict is None:
            self._verdict = self._read()
            if isinstance(self._verdict, Malformed):
                self._held.clear()
        return self._verdict

    def rest(self) -> bytes:
        """Return the bytes behind the header, none of which was looked at; none before it is whole."""
        return bytes(self._held[self._end :]) if self._end else b""

    @abstractmethod
    def _read(self) -> H | Malformed | None:
        """Judge what is held, and set `_end` where the header is whole."""
