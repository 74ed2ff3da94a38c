from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshtx.services.readiness import READY, UNREADY, Readiness
from meshtx.services.service_manager import ServiceManager


class Reactor(Clock):
    """A clock that is told what to call before its shutdown."""

    def addSystemEventTrigger(self, _phase: str, _event: str, call: Callable[[str], object], argument: str) -> None:
        self.shut_down = lambda: call(argument)


class Told(ServiceManager):
    """A manager that writes down what it is told."""

    def __init__(self, watchdog: float | None = None, *, takes: bool = True) -> None:
        super().__init__("/there", watchdog)
        self.messages: list[tuple[str, ...]] = []
        self.takes = takes

    def notify(self, *assignments: str, **_: Any) -> bool:
        self.messages.append(assignments)
        return self.takes

    def news(self) -> list[tuple[str, ...]]:
        news, self.messages = self.messages, []
        return news


class ReadinessTests(SynchronousTestCase):
    def readiness(self, manager: ServiceManager) -> None:
        self.reason: str | None = "no certificate yet"
        self.reactor = Reactor()
        self.became: list[float] = []
        readiness = Readiness(
            manager, lambda: self.reason, self.reactor, lambda: self.became.append(self.reactor.seconds())
        )
        readiness.startService()
        self.stop = readiness.stopService

    def test_ready_is_said_once_and_why_not_before_it_and_behind_it(self) -> None:
        manager = Told()
        self.readiness(manager)
        self.assertEqual(manager.news(), [("STATUS=no certificate yet",)])
        self.reactor.advance(UNREADY)
        self.assertEqual(manager.news(), [])
        self.reason = None
        self.reactor.advance(UNREADY)
        self.assertEqual(manager.news(), [("READY=1", "STATUS=ready")])
        self.assertEqual(len(self.became), 1)
        self.reason = "the certificate\nhas expired"
        self.reactor.advance(READY)
        self.assertEqual(manager.news(), [("STATUS=the certificate\\x0ahas expired",)])
        self.reason = None
        self.reactor.advance(READY)
        self.assertEqual(manager.news(), [("STATUS=ready",)])
        self.assertEqual(len(self.became), 1)
        self.reactor.shut_down()
        self.assertEqual(manager.news(), [("STOPPING=1",)])
        self.reason = "the proxy is stopping"
        self.reactor.advance(READY)
        self.assertEqual(manager.news(), [("STATUS=the proxy is stopping",)])
        self.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_a_message_that_was_not_taken_is_sent_again(self) -> None:
        manager = Told(takes=False)
        self.readiness(manager)
        self.reason = None
        self.reactor.advance(UNREADY)
        manager.news()
        manager.takes = True
        self.reactor.advance(READY)
        self.assertEqual(manager.news(), [("READY=1", "STATUS=ready")])
        self.reactor.advance(READY)
        self.assertEqual(manager.news(), [])
        self.assertEqual(len(self.became), 1)

    def test_a_watchdog_hears_of_us_in_half_its_time_ready_or_not(self) -> None:
        for watchdog, pause in ((0.5, 0.25), (8.0, READY)):
            manager = Told(watchdog)
            self.readiness(manager)
            self.assertEqual(manager.news(), [("STATUS=no certificate yet", "WATCHDOG=1")])
            self.reactor.advance(min(UNREADY, pause))
            self.assertEqual(manager.news(), [("WATCHDOG=1",)])
            self.reason = None
            self.reactor.advance(UNREADY)
            manager.news()
            self.reactor.advance(pause)
            self.assertEqual(manager.news(), [("WATCHDOG=1",)])

    def test_without_a_manager_listeners_are_told_all_the_same(self) -> None:
        self.readiness(ServiceManager())
        self.assertEqual(self.became, [])
        self.reason = None
        self.reactor.advance(UNREADY)
        self.assertEqual(self.became, [UNREADY])
