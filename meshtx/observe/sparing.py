"""Log lines that strangers can cause: a few a while for each kind, the rest only as a number.

Who can open a connection could else fill a disk. What is left out here is in the metrics all the same.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

BURST = 20
"""Lines of one kind in one window."""
WINDOW = 10.0
"""Seconds."""


@dataclass(slots=True)
class _Window:
    began: float
    lines: int = 0
    left_out: int = 0


class Sparing:
    """Decides which lines are written.

    One is kept for each kind: kinds are to come from enums.
    """

    def __init__(self, burst: int = BURST, window: float = WINDOW) -> None:
        self._burst = burst
        self._length = window
        self._windows: dict[Hashable, _Window] = {}

    def left_out(self, kind: Hashable, now: float) -> int | None:
        """Return how many lines of this kind have been left out before this one; ``None``: leave it out too.

        :param now: seconds; a clock that is set back only begins another window.
        """
        window = self._windows.setdefault(kind, _Window(now))
        if not 0 <= now - window.began < self._length:
            window.began, window.lines = now, 0
        if window.lines >= self._burst:
            window.left_out += 1
            return None
        window.lines += 1
        before, window.left_out = window.left_out, 0
        return before
