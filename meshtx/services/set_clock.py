"""Timers that wait as long as they were told, though the clock be set back meanwhile.

Twisted keeps for each delayed call when it is due by the wall clock. Where that is set back by two hours, as where a
machine has begun with its local time, all that was to come within seconds would come in two hours: deadlines, tries
after a failure, looks at files and at certificates.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

STEP = 1.0
"""Seconds by which a clock is set back at least: less is its being slowed down, and what waits is late by as much."""


def outlive_set_clocks(
    reactor: Any, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
) -> None:
    """Have a reactor move its delayed calls along when the wall clock is set back.

    It looks once in each turn, behind what is due and before it waits. What was made since, by the clock as it is now,
    stays: once moved it would have been due before the last look, as nothing is that waited then.

    :param reactor: a `ReactorBase`. (Any: it is asked how long to wait in a way that no interface has.)
    """
    due_within, looked = reactor.timeout, monotonic()
    ahead = wall() - looked

    def timeout() -> float | None:
        nonlocal ahead, looked
        now = monotonic()
        present = wall() - now
        if present < ahead - STEP:
            for call in reactor.getDelayedCalls():
                if call.getTime() - ahead >= looked - STEP:
                    call.delay(present - ahead)
            ahead = present
        ahead, looked = max(ahead, present), now
        return due_within()

    reactor.timeout = timeout
