"""A bound on what costs a peer nothing: pings, settings, resets, empty frames."""

from __future__ import annotations

from collections.abc import Callable


class Patience:
    """A bucket that holds `burst` tokens and gains `rate` a second.

    It stops floods such as CVE-2019-9512 (ping), CVE-2019-9515 (settings) and CVE-2023-44487 (rapid reset); an
    ordinary client, which pings once a round trip and cancels some calls, never comes near its end.
    """

    def __init__(self, seconds: Callable[[], float], burst: float = 1000.0, rate: float = 100.0) -> None:
        self._seconds = seconds
        self._burst = burst
        self._rate = rate
        self._left = burst
        self._at = seconds()

    def spend(self) -> bool:
        """Take one token; return whether there was one."""
        now = self._seconds()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
