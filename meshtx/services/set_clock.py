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

    It asks for the time before it makes a call, and when it looks which ones are due: so none is moved that was made
    after the step, and none comes late.

    :param reactor: a `ReactorBase`. (Any: it is told the time in a way that no interface has.)
    """
    ahead = wall() - monotonic()

    def seconds() -> float:
        nonlocal ahead
        now = wall()
        before, present = ahead, now - monotonic()
        if present > before:
            ahead = present
        elif present < before - STEP:
            ahead = present
            for call in reactor.getDelayedCalls():
                call.delay(present - before)
        return now

    reactor.seconds = seconds
