"""TCP ports: the proxy's own, and one or a range of them, as users write them."""

from __future__ import annotations

from dataclasses import dataclass

PROXY_OUTBOUND, PROXY_INBOUND, PROXY_TAP, PROXY_ADMIN = 4140, 4143, 4190, 4191
"""Where a proxy that is not told otherwise takes its workload's connections, those from elsewhere, who taps, and
who asks how it is."""


@dataclass(frozen=True, slots=True, order=True)
class PortRange:
    """Ports, both ends included; prints as ``80`` or ``8000-8099``."""

    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> PortRange:
        """Read ``80`` or ``8000-8099``.

        :raises ValueError: it is neither, or not ports from low to high.
        """
        first, dash, last = text.partition("-")
        ends = (first, last if dash else first)
        if not all(end.isascii() and end.isdigit() for end in ends):
            raise ValueError(f"{text!r} is no port and no range of ports")
        low, high = map(int, ends)
        if not 0 < low <= high <= 65535:
            raise ValueError(f"{text!r} is not within 1-65535, from low to high")
        return cls(low, high)

    def __contains__(self, port: int) -> bool:
        return self.first <= port <= self.last

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"
