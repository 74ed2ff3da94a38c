"""Whether a program is ready, told to the service manager that started it, and to its listeners.

    start ──▶ looked at every `UNREADY` seconds ──▶ ready: READY=1 ──▶ looked at every `READY` seconds ──▶ STOPPING=1
                       STATUS= says why not yet                           STATUS= whenever it changes

A manager that wants to hear of the program regularly (WATCHDOG_USEC) does with each look, so that one that hangs is
restarted; one that cannot get a certificate is not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.task import LoopingCall

from meshtx.observe.printable import printable
from meshtx.services.service_manager import ServiceManager

UNREADY = 0.05
"""Seconds between two looks at a program that has not been ready yet."""
READY = 1.0
"""Seconds between two looks afterwards."""


class Readiness(Service):
    """Looks whether a program is ready, as long as it runs: while its connections drain as well.

    :param ready_reason: returns why it is not, ``None`` if it is.
    :param reactor: (Any: a reactor has no one type.)
    :param became_ready: called once, when it is ready for the first time.
    """

    def __init__(
        self,
        manager: ServiceManager,
        ready_reason: Callable[[], str | None],
        reactor: Any,
        became_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._manager = manager
        self._ready_reason = ready_reason
        self._became_ready = became_ready
        self._ready = self._told_ready = False
        self._told: str | None = None
        self._looking = LoopingCall(self._look)
        self._looking.clock = reactor
        self._reactor = reactor

    def startService(self) -> None:
        """Look for the first time."""
        super().startService()
        self._reactor.addSystemEventTrigger("before", "shutdown", self._manager.notify, "STOPPING=1")
        self._looking.start(self._interval(UNREADY))

    def stopService(self) -> None:
        """Look no more: nothing runs."""
        super().stopService()
        self._looking.stop()

    def _look(self) -> None:
        reason = self._ready_reason()
        if reason is None and not self._ready:
            self._ready = True
            self._looking.interval = self._interval(READY)
            self._became_ready()
        if self._manager.listens:
            self._tell(printable(reason or "ready"))

    def _tell(self, status: str) -> None:
        news = ["READY=1"] if self._ready and not self._told_ready else []
        if status != self._told:
            news.append(f"STATUS={status}")
        if self._manager.watchdog is not None:
            news.append("WATCHDOG=1")
        if news and self._manager.notify(*news):
            self._told, self._told_ready = status, self._ready

    def _interval(self, wanted: float) -> float:
        watchdog = self._manager.watchdog
        return wanted if watchdog is None else min(wanted, watchdog / 2)
