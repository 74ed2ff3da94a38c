"""Handshakes that fail on a program's own ports: counted, and a few of them logged."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from meshtx.net.failures import TlsError
from meshtx.observe.flow import Direction
from meshtx.observe.metrics import Metrics
from meshtx.observe.printable import printable
from meshtx.observe.sparing import Sparing


class FailedHandshakes:
    """Takes the failures of one port.

    :param what: begins the line in the log.
    """

    log = Logger()

    def __init__(self, what: str, metrics: Metrics, clock: IReactorTime) -> None:
        self._what = what
        self._metrics = metrics
        self._clock = clock
        self._sparing = Sparing()

    def failed(self, error: TlsError) -> None:
        """Note one."""
        self._metrics.refused(Direction.IN, error.reason)
        if self._sparing.left_out(error.reason, self._clock.seconds()) is not None:
            self.log.info(
                "{what}: {reason} ({detail})",
                what=self._what,
                reason=error.reason.value,
                detail=printable(error.detail),
            )
