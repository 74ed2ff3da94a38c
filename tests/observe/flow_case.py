"""What tests of flows stand on: a clock, a tap, and a detector of lines."""

from __future__ import annotations

from dataclasses import dataclass

from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from meshtx.observe.flow import Direction
from meshtx.observe.flows import FlowHandle, Flows
from meshtx.observe.metrics import Metrics
from meshtx.observe.tap import Subscription, TapEvent, TapHub, What
from meshtx.observe.tap_match import TapMatch
from tests.observe.cases import CLIENT, SERVER, LineDetector


@dataclass
class FakeEnd:
    on_data: object = None
    received: int = 0


class FlowCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.metrics = Metrics()
        self.hub = TapHub(self.clock, self.metrics)
        self.detector = LineDetector()
        self.flows = Flows(self.clock, self.metrics, self.hub, [self.detector])
        self.logged: list[dict[str, object]] = []
        globalLogPublisher.addObserver(self.logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.logged.append)

    def open(self, direction: Direction = Direction.IN) -> FlowHandle:
        return self.flows.open(direction, CLIENT, SERVER)

    def tap(self, match: TapMatch | None = None) -> Subscription:
        return self.hub.subscribe(match or TapMatch())

    def events(self, subscription: Subscription) -> list[TapEvent]:
        """What is there to be read; the test reads less than a batch."""
        events = []
        while subscription._queue:
            events.append(self.successResultOf(subscription.next()))
        return events

    def whats(self, subscription: Subscription) -> list[What]:
        return [event.what for event in self.events(subscription)]

    def lines(self, level: LogLevel = LogLevel.info) -> list[str]:
        return [
            str(event["log_format"]).format(**event)
            for event in self.logged
            if event["log_level"] is level and event["log_namespace"] == "meshtx.observe.flows.Flows"
        ]
