"""The reactor, but for its clock, which a test moves: sockets are real, and time limits end when a test says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock


class SteppedReactor:
    """Everything but the clock is the real reactor's."""

    def __init__(self) -> None:
        self.clock = Clock()

    def callLater(self, delay: float, what: Callable[..., object], *args: object, **kw: object) -> IDelayedCall:
        return self.clock.callLater(delay, what, *args, **kw)

    def seconds(self) -> float:
        return self.clock.seconds()

    def getDelayedCalls(self) -> list[IDelayedCall]:
        return list(self.clock.getDelayedCalls())

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)
