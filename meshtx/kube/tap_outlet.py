"""Lines on their way to one who taps: bounded, and no faster than he takes them, nor than the directory can afford.

    add ─▶ queue ─▶ a batch each `GATHER` s ─▶ write
             └─ full: whoever adds waits, and with him the proxy, which counts what it drops

Nothing is dropped here: what is lost is counted where it was seen, and told in its place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

from meshtx.net.deadline import call_off

QUEUE = 500
"""Lines that wait, before whoever adds one has to wait too."""
GATHER = 0.05
"""Seconds between two batches."""
BATCH = 25
"""Lines of a batch; so a tap has 500 lines a second, which cost the directory a twentieth of a core."""
HEARTBEAT = 10.0
"""Seconds after which an empty line is sent where there is no other: what is between finds no connection idle."""


@implementer(IPushProducer)
class Outlet:
    """The way to one caller.

    :param write: sends bytes.
    """

    def __init__(self, write: Callable[[bytes], None], clock: IReactorTime) -> None:
        self._write = write
        self._clock = clock
        self._queue: deque[bytes] = deque()
        self._waiting: list[Deferred[None]] = []
        self._paused = False
        self._stopped = False
        self._turn: IDelayedCall | None = None
        self._beat = clock.callLater(HEARTBEAT, self._heartbeat)

    def add(self, line: bytes) -> Deferred[None] | None:
        """Send a line, without its end; one that is added after `stopProducing` is not.

        :return: ``None``: there is room for more. Else it fires when there is.
        """
        if self._stopped:
            return None
        self._queue.append(line)
        self._schedule(0.0)
        if len(self._queue) < QUEUE:
            return None
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def pauseProducing(self) -> None:
        """The caller takes nothing now."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The caller takes more."""
        self._paused = False
        self._schedule(0.0)

    def stopProducing(self) -> None:
        """The caller has gone."""
        self._stopped = True
        self._queue.clear()
        for call in (self._turn, self._beat):
            call_off(call)
        self._release()

    def _schedule(self, delay: float) -> None:
        if self._queue and self._turn is None and not self._paused and not self._stopped:
            self._turn = self._clock.callLater(delay, self._take_turn)

    def _take_turn(self) -> None:
        self._turn = None
        if not self._paused:
            self._send()
            self._turn = self._clock.callLater(GATHER, self._next_turn)
        if len(self._queue) < QUEUE:
            self._release()

    def _next_turn(self) -> None:
        self._turn = None
        self._schedule(0.0)

    def _send(self) -> None:
        batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
        if batch:
            self._write(b"".join(line + b"\n" for line in batch))
            self._beat.reset(HEARTBEAT)

    def _heartbeat(self) -> None:
        self._beat = self._clock.callLater(HEARTBEAT, self._heartbeat)
        if not self._paused:
            self._write(b"\n")

    def _release(self) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)
