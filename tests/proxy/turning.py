"""A clock that shows a reactor's turns apart from its time."""

from __future__ import annotations

from twisted.internet.task import Clock


class Turning(Clock):
    """`Clock.advance` runs in one go what its calls ask for in turn; this does not."""

    def turn(self) -> None:
        """Make the calls that wait now."""
        for call in self.getDelayedCalls():
            self.calls.remove(call)
            call.called = 1
            call.func(*call.args, **call.kw)
