"""Dials one address many times, and writes as JSON what it cost.

python -m tests.mesh.dial_many ADDRESS PORT CONNECTIONS AT_ONCE
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from typing import Any

from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.internet.protocol import Protocol
from twisted.internet.task import react

from meshtx.net.dial import DialFailed, Dialler, HedgeOutcome
from meshtx.net.sockets import SocketOptions
from meshtx.wire.address import Address

PATIENCE = 8.0


class Many:
    """The dials, and what has become of them."""

    def __init__(self, reactor: Any, address: Address, count: int) -> None:
        self._address = address
        self._left = count
        self.waits: list[float] = []
        self.failures: Counter[str] = Counter()
        self.hedges: Counter[HedgeOutcome] = Counter()
        self.retransmits = 0
        self._dialler = Dialler(
            reactor, SocketOptions(), PATIENCE, hedged=self._hedged, retransmitted=self._retransmitted
        )

    def _hedged(self, outcome: HedgeOutcome) -> None:
        self.hedges[outcome] += 1

    def _retransmitted(self, count: int) -> None:
        self.retransmits += count

    async def one_by_one(self) -> None:
        """Dial until as many have been made as were asked for."""
        while self._left > 0:
            self._left -= 1
            protocol, begun = Protocol(), time.perf_counter()
            try:
                await self._dialler.dial(self._address, protocol)
            except DialFailed as failed:
                self.failures[failed.reason] += 1
            else:
                self.waits.append(1000 * (time.perf_counter() - begun))
                assert protocol.transport is not None
                protocol.transport.abortConnection()

    def report(self) -> str:
        """Return what it cost: milliseconds until the connection was there, hedges, and SYNs sent again."""
        waits = sorted(self.waits)
        milliseconds = {
            f"p{share:g}": waits[int(len(waits) * share / 100)] for share in (50, 90, 95, 99, 99.9) if waits
        }
        return json.dumps(
            {
                "connected": len(waits),
                "failed": self.failures,
                "milliseconds": {**milliseconds, "max": waits[-1] if waits else None},
                "over_600_ms": sum(wait > 600 for wait in waits),
                "hedges": self.hedges,
                "retransmits": self.retransmits,
            }
        )


async def main(reactor: Any, host: str, port: str, connections: str, at_once: str) -> None:
    many = Many(reactor, Address.of(host, int(port)), int(connections))
    await gatherResults([ensureDeferred(many.one_by_one()) for _ in range(int(at_once))])
    print(many.report(), flush=True)


if __name__ == "__main__":
    react(lambda reactor: ensureDeferred(main(reactor, *sys.argv[1:])))
