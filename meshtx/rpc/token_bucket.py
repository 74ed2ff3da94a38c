"""A token bucket: bounds how much of something a peer may do, with room for bursts."""

from __future__ import annotations

from collections.abc import Callable


class TokenBucket:
    """Holds at most `burst` tokens, and gains `rate` of them a second.

    :param seconds: returns the time, in seconds.
    """

    def __init__(self, seconds: Callable[[], float], burst: float, rate: float) -> None:
        self._seconds = seconds
        self._burst = burst
        self._rate = rate
        self._left = burst
        self._at = seconds()

    def refill(self, tokens: int) -> None:
        """Put tokens back."""
        self._left = min(self._burst, self._left + tokens)

    def take(self, tokens: int = 1) -> bool:
        """Take tokens; return whether there were enough. If not, none is taken."""
        now = self._seconds()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < tokens:
            return False
        self._left -= tokens
        return True
