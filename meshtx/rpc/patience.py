"""A bound on what costs a peer nothing: pings, settings, resets, empty frames."""

from __future__ import annotations

from collections.abc import Callable


class Patience:
    """A bucket that holds `burst` tokens and gains `rate` a second.

    It stops floods such as CVE-2019-9512 (ping), CVE-2019-9515 (settings) and CVE-2023-44487 (rapid reset); an
    ordinary client, which pings once a round trip and cancels some calls, never comes near its end. For DATA that was
    sent it gains `earn`: who takes it opens windows for more.
    """

    def __init__(self, seconds: Callable[[], float], burst: float = 1000.0, rate: float = 100.0) -> None:
        self._seconds = seconds
        self._burst = burst
        self._rate = rate
        self._left = burst
        self._at = seconds()

    def earn(self, tokens: int) -> None:
        """Put tokens back."""
        self._left = min(self._burst, self._left + tokens)

    def spend(self, tokens: int = 1) -> bool:
        """Take tokens; return whether there were as many."""
        now = self._seconds()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < tokens:
            return False
        self._left -= tokens
        return True
