"""Shares the reactor's turns among the connections of one server, by what their input costs to process.

    input ─┬─ credit left, nobody queued ─▶ processed at once: one slice
           └─ else, and what is left of it ─▶ queued ─▶ round-robin, `SLICE` a turn of the reactor
                                                        └─ nobody queued any more ─▶ new credit

Costs are estimates in microseconds, made from the kinds and sizes of frames (`meshtx.rpc.frame_filter`), so that the
same input is always cut at the same places, and no clock is read. However many connections send however much, a turn
of the reactor has no more of it than `BURST`, two slices and the frames that these end with.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

SLICE = 2_000
"""Microseconds of work after which others have their turn."""

BURST = 4_000
"""Microseconds of work that is done at once, until the queue gives new credit."""


class Worker(Protocol):
    """A connection whose input waits to be processed."""

    def process_slice(self) -> int:
        """Process about `SLICE` of the input, and queue for the rest of it; return what it cost. Raises nothing."""


class WorkQueue:
    """Decides whose input is processed when."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._credit = BURST
        self._queue: deque[Worker] = deque()
        self._timer: IDelayedCall | None = None

    def may_start(self) -> bool:
        """Return whether input that has just come may be processed at once; its cost is then to be charged."""
        return not self._queue and self._credit > 0

    def charge(self, cost: int) -> None:
        """Count work that was done at once, in microseconds."""
        self._credit -= cost

    def enqueue(self, worker: Worker) -> None:
        """Have the worker process a slice in a later turn of the reactor, behind those that are queued already."""
        self._queue.append(worker)
        if self._timer is None:
            self._timer = self._clock.callLater(0, self._run)

    def _run(self) -> None:
        spent = 0
        while self._queue and spent < SLICE:
            spent += self._queue.popleft().process_slice()
        if self._queue:
            self._timer = self._clock.callLater(0, self._run)
        else:
            self._timer, self._credit = None, BURST
