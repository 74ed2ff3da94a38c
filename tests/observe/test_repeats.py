"""Tests for `meshtx.observe.repeats`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.samples import Sample
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshtx.observe.detectors import load_detectors
from meshtx.observe.flow import Direction
from meshtx.observe.flows import FlowHandle, Flows
from meshtx.observe.metrics import Metrics
from meshtx.observe.tap import Subscription, TapEvent, TapHub
from meshtx.observe.tap_match import TapMatch
from meshtx.wire.http1 import Http1Observer
from tests.observe.cases import CLIENT, MTLS, SERVER, series
from tests.wire.http1_corpus import GET, OK

OTHER = b"GET /b HTTP/1.1\r\nHost: web\r\n\r\n"
HEAD = b"HEAD /a HTTP/1.1\r\nHost: web\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi"
UPGRADE = b"GET /a HTTP/1.1\r\nHost: web\r\nUpgrade: x\r\n\r\n"
LONGER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi!"
HINT = b"HTTP/1.1 103 Hint\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\nhi"

Action = tuple[str, bytes]


class Connection:
    """A connection of HTTP/1 that is observed."""

    def __init__(self, *, shortcut: bool = True) -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        self.hub = TapHub(self.clock, self.metrics)
        flows = Flows(self.clock, self.metrics, self.hub, load_detectors(["http/1.1"]))
        self.handle: FlowHandle = flows.open(Direction.IN, CLIENT, SERVER)
        self.handle.secured(MTLS)
        self.shortcut = shortcut
        self.taps: list[Subscription] = []
        self.seen: list[TapEvent] = []

    def do(self, action: Action) -> None:
        """Have a side say something, or a tap come, or the last one go; the time passes."""
        what, data = action
        self.clock.advance(0.003)
        if what == "tap":
            self.taps.append(self.hub.subscribe(TapMatch()))
        elif what == "untap" and self.taps:
            self.take(self.taps.pop())
        elif what in "CS":
            (self.handle.client_data if what == "C" else self.handle.server_data)(data)
        if not self.shortcut and self.handle._watcher is not None:
            self.handle._repeats = None
            self.handle._look(self.handle._watcher.client_data, self.handle._watcher.server_data)

    def take(self, tap: Subscription) -> None:
        for event in tap._queue:
            assert isinstance(event, TapEvent)
            self.seen.append(event)
        tap.close()

    def shown(self) -> list[Sample]:
        """What the metrics say of requests now."""
        metrics = self.metrics
        counted = (metrics.request, metrics.response, metrics.response_latency)
        return [sample for each in counted for metric in each.collect() for sample in metric.samples]

    def ended(self) -> tuple[list[TapEvent], list[Sample]]:
        self.handle.ended(0, 0)
        for tap in self.taps:
            self.take(tap)
        return self.seen, self.shown()


requests = st.sampled_from([GET] * 5 + [OTHER, HEAD, POST, UPGRADE, GET + GET, GET[:9], GET[9:], b"\r\n" + GET, b"\0"])
answers = st.sampled_from([OK] * 5 + [LONGER, HINT, HINT + OK, CHUNKED, UNTIL_CLOSE, OK + OK, OK[:-1], OK[-1:], b"\0"])
turns = st.tuples(requests, answers).map(lambda turn: [("C", turn[0]), ("S", turn[1])])
odd = st.one_of(
    requests.map(lambda data: [("C", data)]),
    answers.map(lambda data: [("S", data)]),
    st.sampled_from([[("tap", b"")], [("untap", b"")]]),
)
conversations = st.lists(st.one_of(turns, turns, turns, odd), max_size=20).map(lambda parts: [*chain(*parts)])


class RepeatsTests(SynchronousTestCase):
    def parsed(self, connection: Connection) -> Sequence[bytes]:
        """What the observer is shown from now on."""
        observer = connection.handle._watcher.observer
        assert isinstance(observer, Http1Observer)
        shown: list[bytes] = []

        def show(method: Callable[[bytes], list[object]]) -> Callable[[bytes], list[object]]:
            return lambda data: (shown.append(data), method(data))[1]

        observer.client_data = show(observer.client_data)
        observer.server_data = show(observer.server_data)
        return shown

    def repeated(self, times: int = 2) -> Connection:
        connection = Connection()
        for _ in range(times):
            connection.do(("C", GET))
            connection.do(("S", OK))
        return connection

    def test_an_exchange_that_comes_again_is_not_parsed(self) -> None:
        connection = self.repeated()
        shown = self.parsed(connection)
        for _ in range(3):
            connection.do(("C", GET))
            connection.do(("S", OK))
        self.assertEqual(shown, [])
        self.assertTrue(series(connection.metrics, "request_total")[0].endswith(" 5.0"))
        self.assertTrue(series(connection.metrics, "response_total")[0].endswith(" 5.0"))

    def test_another_answer_is_parsed_behind_its_request(self) -> None:
        connection = self.repeated()
        shown = self.parsed(connection)
        connection.do(("C", GET))
        self.assertEqual(shown, [])
        connection.do(("S", LONGER))
        self.assertEqual(shown, [GET, LONGER])

    def test_a_request_that_is_parsed_late_began_when_it_came(self) -> None:
        connection = self.repeated()
        connection.do(("C", GET))
        connection.clock.advance(9)
        connection.do(("S", LONGER))
        total = series(connection.metrics, "response_latency_ms_sum")[0]
        self.assertAlmostEqual(float(total.split()[1]), 3 + 3 + 9003)

    def test_the_request_again_behind_another_one_is_parsed(self) -> None:
        connection = self.repeated()
        shown = self.parsed(connection)
        connection.do(("C", OTHER))
        connection.do(("C", GET))
        self.assertEqual(shown, [OTHER, GET])

    def test_what_is_tapped_is_parsed(self) -> None:
        connection = self.repeated()
        shown = self.parsed(connection)
        connection.do(("tap", b""))
        connection.do(("C", GET))
        self.assertEqual(shown, [GET])

    def test_a_tap_that_comes_later_sees_the_right_number(self) -> None:
        connection = self.repeated(4)
        connection.do(("tap", b""))
        connection.do(("C", GET))
        seen, _ = connection.ended()
        self.assertEqual(seen[0].what.id, 4)

    @settings(max_examples=1000, deadline=None)
    @given(conversations)
    def test_whoever_looks_from_outside_sees_no_difference(self, actions: list[Action]) -> None:
        quick, thorough = Connection(), Connection(shortcut=False)
        for action in actions:
            quick.do(action)
            thorough.do(action)
            self.assertEqual(quick.shown(), thorough.shown())
        self.assertEqual(quick.ended(), thorough.ended())
