"""Tests for `meshtx.observe.exchanges`."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from meshtx.observe.exchanges import Exchanges
from meshtx.observe.flow import Direction, Request, Response, ResponseEnd
from meshtx.observe.metrics import Metrics
from meshtx.observe.tap import Answered, Finished, Subscription, TapHub, What
from meshtx.observe.tap_match import TapMatch
from meshtx.wire.http_events import GaveUp, RequestHead, RequestText, ResponseHead, Upgraded
from tests.observe.cases import MTLS, a_flow, series


def unreadable() -> RequestText:
    raise AssertionError("nobody asked for it")


class ExchangesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.metrics = Metrics()
        self.hub = TapHub(Clock(), self.metrics)
        self.clock = Clock()
        self.flow = a_flow()
        self.exchanges = Exchanges(
            self.hub, self.metrics.flow(Direction.IN, MTLS), "http/1.1", self, self.clock.seconds
        )

    def ask(self, number: int, read: Callable[[], RequestText] = unreadable) -> None:
        self.exchanges.seen([RequestHead(number, read)])

    def whats(self, subscription: Subscription) -> list[What]:
        whats = []
        while subscription._queue:
            whats.append(self.successResultOf(subscription.next()).what)
        return whats

    def test_heads_that_nobody_taps_are_counted_and_not_read(self) -> None:
        self.ask(0)
        self.exchanges.seen([ResponseHead(0, 200, unreadable), ResponseEnd(0, 5)])
        self.assertTrue(series(self.metrics, "request_total")[0].endswith(" 1.0"))
        self.assertIn('status_code="200"', series(self.metrics, "response_total")[0])

    def test_heads_are_not_read_for_a_tap_of_other_connections(self) -> None:
        self.hub.subscribe(TapMatch(direction=Direction.OUT))
        self.ask(0)
        self.exchanges.seen([ResponseHead(0, 200, unreadable), ResponseEnd(0, 5)])

    def test_the_head_of_an_answer_is_not_read_if_its_request_did_not_match(self) -> None:
        self.hub.subscribe(TapMatch(path_prefix="/api"))
        self.ask(0, lambda: RequestText("GET", "web", "/"))
        self.exchanges.seen([ResponseHead(0, 200, unreadable), ResponseEnd(0, 5)])

    def test_a_tap_is_told_what_a_head_says(self) -> None:
        tap = self.hub.subscribe(TapMatch())
        kept = (("user-agent", "curl"),)
        self.ask(0, lambda: RequestText("GET", "web", "/a", kept))
        self.assertEqual(self.whats(tap), [Request(0, "http/1.1", "GET", "web", "/a", kept)])

    def test_the_head_of_an_answer_is_not_read_for_a_tap_without_headers(self) -> None:
        tap = self.hub.subscribe(TapMatch(), headers=False)
        self.ask(0, lambda: RequestText("GET", "web", "/a"))
        self.exchanges.seen([ResponseHead(0, 200, unreadable)])
        self.assertEqual(self.whats(tap)[1], Answered(Response(0, 200), 0.0))

    def test_the_head_of_an_answer_is_read_if_one_of_several_taps_wants_headers(self) -> None:
        taps = [self.hub.subscribe(TapMatch(), headers=headers) for headers in (False, True)]
        fields = (("content-type", "text/plain"),)
        self.ask(0, lambda: RequestText("GET", "web", "/a"))
        self.exchanges.seen([ResponseHead(0, 200, lambda: fields)])
        for tap in taps:
            self.assertEqual(self.whats(tap)[1], Answered(Response(0, 200, fields), 0.0))

    def test_who_taps_is_found_anew_when_a_tap_comes_or_goes_or_the_connection_is_known_better(self) -> None:
        page = RequestText("GET", "web", "/")
        self.ask(0)
        first = self.hub.subscribe(TapMatch())
        self.ask(1, lambda: page)
        second = self.hub.subscribe(TapMatch(direction=Direction.OUT))
        self.ask(2, lambda: page)
        self.flow = a_flow(Direction.OUT)
        self.ask(3, lambda: page)
        first.close()
        self.ask(4, lambda: page)
        second.close()
        self.ask(5)
        self.assertEqual([what.id for what in self.whats(second)], [])
        self.assertEqual(self.exchanges._tapped.keys(), {1, 2, 3, 4})

    def test_an_answer_follows_its_request_though_another_tap_has_come(self) -> None:
        first = self.hub.subscribe(TapMatch())
        self.ask(0, lambda: RequestText("GET", "web", "/"))
        second = self.hub.subscribe(TapMatch())
        self.exchanges.seen([ResponseHead(0, 200), ResponseEnd(0, 5)])
        self.assertEqual([type(what) for what in self.whats(first)], [Request, Answered, Finished])
        self.assertEqual(self.whats(second), [])
        self.assertEqual(self.exchanges._tapped, {})

    def test_a_request_whose_connection_becomes_another_protocol_is_over(self) -> None:
        tap = self.hub.subscribe(TapMatch())
        self.ask(0, lambda: RequestText("GET", "web", "/"))
        self.clock.advance(2)
        self.exchanges.seen([ResponseHead(0, 101), Upgraded(0)])
        self.assertEqual(self.whats(tap)[1:], [Answered(Response(0, 101), 2.0), Finished(ResponseEnd(0, 0), 2.0, 0.0)])
        self.assertIn('status_code="101"', series(self.metrics, "response_total")[0])

    def test_giving_up_is_for_the_log_and_no_request(self) -> None:
        logged: list[dict[str, object]] = []
        globalLogPublisher.addObserver(logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, logged.append)
        tap = self.hub.subscribe(TapMatch())
        self.exchanges.seen([GaveUp("malformed fields")])
        self.assertEqual((self.whats(tap), self.exchanges.requested), ([], False))
        self.assertEqual(
            [(event["log_level"], event["protocol"], event["reason"]) for event in logged],
            [(LogLevel.debug, "http/1.1", "malformed fields")],
        )
