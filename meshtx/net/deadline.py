"""A time limit that is moved often and reached rarely: moving it, or giving it up, costs no delayed call."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


def call_off(call: IDelayedCall | None) -> None:
    """Cancel a delayed call, if there is one that has not come yet. Who has it lets go of it: it keeps its function."""
    if call is not None and call.active():
        call.cancel()


class Deadline:
    """One limit at a time. Its one delayed call, once made, comes when it comes, and looks how late it is."""

    __slots__ = ("_at", "_call", "_clock", "_timer")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._at = 0.0
        self._call: Callable[[], object] | None = None
        self._timer: IDelayedCall | None = None

    def set(self, seconds: float, call: Callable[[], object]) -> None:
        """Call after so many seconds, instead of what was to be called before."""
        self._at = self._clock.seconds() + seconds
        self._call = call
        if self._timer is None:
            self._timer = self._clock.callLater(seconds, self._look)
        elif self._timer.getTime() > self._at:
            self._timer.reset(seconds)

    def clear(self) -> None:
        """Call nothing, until it is set again."""
        self._call = None

    def stop(self) -> None:
        """Call nothing, and leave nothing behind."""
        self._call = None
        timer, self._timer = self._timer, None
        call_off(timer)

    def _look(self) -> None:
        self._timer = None
        call, left = self._call, self._at - self._clock.seconds()
        if call is None:
            return
        if left > 0:
            self._timer = self._clock.callLater(left, self._look)
        else:
            self._call = None
            call()
