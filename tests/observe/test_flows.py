from __future__ import annotations

from meshtx.interfaces import Detection
from meshtx.observe.detectors import load_detectors
from meshtx.observe.exchanges import MAX_OPEN
from meshtx.observe.flow import Direction, FlowEnd, Known, Refusal, Response, ResponseEnd
from meshtx.observe.flows import Flows
from meshtx.observe.tap import Answered, Finished, FlowOpened, FlowRefused, TapEvent
from meshtx.observe.tap_match import TapMatch
from meshtx.wire.address import Address
from meshtx.wire.work import MAX_WORK
from tests.observe.cases import CLIENT, EMOJI, MTLS, PLAIN, SERVER, WEB, a_request, series
from tests.observe.flow_case import FakeEnd, FlowCase


class FlowHandleTests(FlowCase):
    def test_connections_are_numbered(self) -> None:
        self.assertEqual([self.open().flow.id for _ in range(3)], [0, 1, 2])

    def test_a_flow_knows_when_it_began_and_what_it_is(self) -> None:
        handle = self.open(Direction.OUT)
        self.assertEqual((handle.flow.opened, handle.flow.security), (1000.0, None))
        handle.secured(MTLS)
        self.assertEqual(handle.flow.security, MTLS)

    def test_the_first_decision_stands(self) -> None:
        handle = self.open()
        handle.plaintext(PLAIN)
        handle.secured(MTLS)
        self.assertEqual(handle.flow.security, PLAIN)
        self.assertEqual(len(series(self.metrics, "tcp_open_total")), 1)

    def test_an_end_that_becomes_known_later_is_corrected(self) -> None:
        handle = self.open()
        handle.addressed(src=Address.parse("192.0.2.1:5"))
        handle.addressed(dst=Address.parse("10.1.0.2:8080"))
        self.assertEqual((str(handle.flow.src), str(handle.flow.dst)), ("192.0.2.1:5", "10.1.0.2:8080"))

    def test_a_connection_is_open_from_its_decision_to_its_end(self) -> None:
        handle = self.open()
        self.assertEqual(series(self.metrics, "tcp_open_connections"), [])
        handle.secured(MTLS)
        self.assertTrue(series(self.metrics, "tcp_open_connections")[0].endswith(" 1.0"))
        handle.ended(5, 7)
        handle.ended(5, 7)
        self.assertTrue(series(self.metrics, "tcp_open_connections")[0].endswith(" 0.0"))
        self.assertTrue(series(self.metrics, "tcp_read_bytes_total")[0].endswith(" 5.0"))
        self.assertEqual(len(series(self.metrics, "tcp_close_total")), 1)

    def test_a_silent_probe_is_a_counter_and_not_a_line(self) -> None:
        tap = self.tap()
        self.open().ended(0, 0)
        probe = self.open()
        probe.addressed(known=Known.OBSCURED)
        probe.ended(0, 0)
        self.assertEqual(
            series(self.metrics, "meshtx_silent_connections_total"),
            [
                'meshtx_silent_connections_total{direction="inbound",source="direct"} 1.0',
                'meshtx_silent_connections_total{direction="inbound",source="obscured"} 1.0',
            ],
        )
        self.assertEqual((self.events(tap), self.lines()), ([], []))


class RefusalTests(FlowCase):
    def test_a_refusal_is_counted_logged_and_shown(self) -> None:
        tap = self.tap()
        handle = self.open()
        handle.refuse(Refusal.NO_RULE, "nobody lets them in")
        self.assertEqual(
            series(self.metrics, "tcp_refused_total"), ['tcp_refused_total{direction="inbound",reason="no_rule"} 1.0']
        )
        self.assertEqual(self.lines(), ["inbound 10.1.0.4:48210 -> 10.1.0.2:80 refused: no_rule (nobody lets them in)"])
        self.assertEqual(
            self.events(tap), [TapEvent(1000.0, handle.flow, FlowRefused("no_rule", "nobody lets them in"))]
        )

    def test_without_a_detail_the_line_has_no_brackets(self) -> None:
        self.open(Direction.OUT).refuse(Refusal.LOOP)
        self.assertEqual(self.lines(), ["outbound 10.1.0.4:48210 -> 10.1.0.2:80 refused: loop"])

    def test_the_line_says_how_a_client_is_known_that_is_not_the_peer(self) -> None:
        handle = self.open()
        handle.addressed(known=Known.OBSCURED)
        handle.refuse(Refusal.LIMIT)
        self.assertEqual(self.lines(), ["inbound 10.1.0.4:48210 (obscured) -> 10.1.0.2:80 refused: limit"])

    def test_the_line_says_which_service_hides_a_client(self) -> None:
        handle = self.open()
        handle.addressed(known=Known.OBSCURED, hidden_by="shop/we\nb")
        handle.refuse(Refusal.LIMIT)
        self.assertEqual(
            self.lines(), [r"inbound 10.1.0.4:48210 (obscured by shop/we\x0ab) -> 10.1.0.2:80 refused: limit"]
        )

    def test_what_hides_a_client_is_forgotten_once_it_is_known(self) -> None:
        handle = self.open()
        handle.addressed(known=Known.OBSCURED, hidden_by="shop/web")
        handle.addressed(dst=SERVER)
        self.assertEqual((handle.flow.known, handle.flow.hidden_by), (Known.OBSCURED, "shop/web"))
        handle.addressed(known=Known.PROXY_HEADER)
        self.assertEqual((handle.flow.known, handle.flow.hidden_by), (Known.PROXY_HEADER, ""))

    def test_what_a_stranger_wrote_cannot_forge_a_line_of_the_log(self) -> None:
        self.open().refuse(Refusal.PROTOCOL_ERROR, "bad\n\x1b[1mline")
        self.assertTrue(self.lines()[0].endswith(r"(bad\x0a\x1b[1mline)"))

    def test_a_connection_is_refused_or_ends_once(self) -> None:
        tap = self.tap()
        handle = self.open()
        handle.secured(MTLS)
        handle.refuse(Refusal.NO_RULE)
        handle.refuse(Refusal.LIMIT)
        handle.ended(1, 1)
        handle.plaintext(PLAIN)
        handle.client_data(b"?/a")
        self.assertEqual(self.whats(tap), [FlowRefused("no_rule", "")])
        self.assertEqual(len(series(self.metrics, "tcp_refused_total")), 1)
        self.assertTrue(series(self.metrics, "tcp_open_connections")[0].endswith(" 0.0"))
        self.assertTrue(series(self.metrics, "request_total")[0].endswith(" 0.0"))

    def test_a_refusal_behind_the_first_bytes_counts_them_and_ends_their_request(self) -> None:
        tap = self.tap()
        handle = self.open(Direction.OUT)
        handle.secured(MTLS)
        handle.relayed(FakeEnd(received=3), FakeEnd())
        handle.client_data(b"?/a")
        handle.refuse(Refusal.REFUSED_BY_PEER, "no_rule")
        self.assertEqual(
            self.whats(tap),
            [
                a_request(path="/a"),
                Finished(ResponseEnd(0, 0, reset=-1), 0.0, 0.0),
                FlowRefused("refused_by_peer", "no_rule"),
            ],
        )
        self.assertTrue(series(self.metrics, "tcp_write_bytes_total")[0].endswith(" 3.0"))


class WatchedTests(FlowCase):
    def test_a_request_is_shown_with_its_answer_and_its_end(self) -> None:
        tap = self.tap()
        handle = self.open()
        handle.secured(MTLS)
        handle.client_data(b"?/api/list")
        self.clock.advance(0.25)
        handle.server_data(b"!200")
        handle.ended(10, 4)
        flow = handle.flow
        self.assertEqual(
            self.events(tap),
            [
                TapEvent(1000.0, flow, a_request()),
                TapEvent(1000.25, flow, Answered(Response(0, 200), 0.25)),
                TapEvent(1000.25, flow, Finished(ResponseEnd(0, 3), 0.25, 0.0)),
            ],
        )

    def test_requests_are_counted_though_nobody_taps(self) -> None:
        handle = self.open()
        handle.secured(MTLS)
        handle.client_data(b"?/a?/b")
        handle.server_data(b"!200!503")
        self.assertEqual(
            series(self.metrics, "request_total"),
            ['request_total{direction="inbound",no_tls_reason="",peer="src",tls="true"} 2.0'],
        )
        self.assertEqual(
            [line.split('"')[1] for line in series(self.metrics, "response_total")], ["success", "failure"]
        )

    def test_filters_carry_over_to_the_answer(self) -> None:
        tap = self.tap(TapMatch(path_prefix="/b"))
        handle = self.open()
        handle.secured(MTLS)
        handle.client_data(b"?/a?/b")
        handle.server_data(b"!200!404")
        handle.ended(1, 1)
        self.assertEqual(
            self.whats(tap),
            [a_request(1, path="/b"), Answered(Response(1, 404), 0.0), Finished(ResponseEnd(1, 3), 0.0, 0.0)],
        )

    def test_a_tap_that_comes_in_mid_connection_sees_the_next_request(self) -> None:
        handle = self.open()
        handle.secured(MTLS)
        handle.client_data(b"?/a")
        tap = self.tap()
        handle.server_data(b"!200")
        handle.client_data(b"?/b")
        self.assertEqual(self.whats(tap), [a_request(1, path="/b")])

    def test_a_connection_that_ends_in_mid_answer_ends_its_request(self) -> None:
        tap = self.tap()
        handle = self.open()
        handle.secured(MTLS)
        handle.client_data(b"?/a")
        handle.ended(1, 0, "reset")
        self.assertEqual(self.whats(tap), [a_request(path="/a"), Finished(ResponseEnd(0, 0, reset=-1), 0.0, 0.0)])
        self.assertIs(self.detector.made[0].orderly, False)

    def test_requests_before_the_decision_are_counted_too(self) -> None:
        handle = self.open()
        handle.client_data(b"?/a")
        self.assertIn('no_tls_reason="unknown"', series(self.metrics, "request_total")[0])

    def test_a_clock_that_is_set_back_gives_no_negative_latency(self) -> None:
        tap = self.tap()
        handle = self.open()
        handle.secured(MTLS)
        handle.client_data(b"?/a")
        self.clock.rightNow -= 500
        handle.server_data(b"!200")
        self.assertEqual(self.whats(tap)[1], Answered(Response(0, 200), 0.0))

    def test_open_requests_are_bounded(self) -> None:
        handle = self.open()
        handle.secured(MTLS)
        handle.client_data(b"?/a" * (MAX_OPEN + 5))
        self.assertFalse(handle.watched)
        self.assertTrue(series(self.metrics, "request_total")[0].endswith(f" {MAX_OPEN}.0"))
        self.assertEqual(
            series(self.metrics, "meshtx_observers_detached_total"),
            ['meshtx_observers_detached_total{protocol="line",why="limit"} 1.0'],
        )

    def test_an_answer_to_no_request_is_ignored(self) -> None:
        handle = self.open()
        handle.secured(MTLS)
        handle.client_data(b"?/a")
        handle.server_data(b"!200!200")
        self.assertTrue(series(self.metrics, "response_total")[0].endswith(" 1.0"))

    def test_an_observer_that_gave_up_is_counted(self) -> None:
        self.open().client_data(b"?/ax")
        self.assertEqual(
            series(self.metrics, "meshtx_observers_detached_total"),
            ['meshtx_observers_detached_total{protocol="line",why="gave_up"} 1.0'],
        )

    def test_an_observer_that_cost_too_much_is_counted(self) -> None:
        handle = Flows(self.clock, self.metrics, self.hub, load_detectors(["http/1.1"])).open(
            Direction.IN, CLIENT, SERVER
        )
        handle.client_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        handle.client_data(b"1\r\na\r\n" * MAX_WORK)
        self.assertFalse(handle.watched)
        self.assertEqual(
            series(self.metrics, "meshtx_observers_detached_total"),
            ['meshtx_observers_detached_total{protocol="http/1.1",why="budget"} 1.0'],
        )

    def test_a_failing_observer_is_logged_once_and_always_counted(self) -> None:
        for _ in range(3):
            self.open().client_data(b"?boom")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(
            series(self.metrics, "meshtx_observers_detached_total"),
            ['meshtx_observers_detached_total{protocol="line",why="failed"} 3.0'],
        )


class UnwatchedTests(FlowCase):
    def test_a_connection_of_another_protocol_is_shown_as_such(self) -> None:
        tap = self.tap()
        handle = self.open()
        handle.plaintext(PLAIN)
        handle.client_data(b"\x10\x20")
        self.clock.advance(2)
        handle.ended(2, 3)
        self.assertEqual(self.whats(tap), [FlowOpened(), FlowEnd(None, "", 2.0, 2, 3)])

    def test_it_is_shown_once_it_is_decided(self) -> None:
        tap = self.tap()
        handle = self.open()
        handle.opaque()
        self.assertEqual(self.events(tap), [])
        handle.secured(MTLS)
        self.assertEqual(self.events(tap), [TapEvent(1000.0, handle.flow, FlowOpened())])

    def test_a_connection_on_which_the_client_says_nothing_is_shown_at_its_end(self) -> None:
        tap = self.tap()
        handle = self.open()
        handle.secured(MTLS)
        handle.server_data(b"220 ready")
        self.assertEqual(self.events(tap), [])
        handle.ended(0, 9, Refusal.CONNECT_FAILED, "reset")
        self.assertEqual(self.whats(tap), [FlowOpened(), FlowEnd("connect_failed", "reset", 0.0, 0, 9)])

    def test_filters_on_requests_leave_it_out(self) -> None:
        tap = self.tap(TapMatch(methods=frozenset({"GET"})))
        handle = self.open()
        handle.plaintext(PLAIN)
        handle.client_data(b"\x10")
        handle.ended(1, 1)
        self.assertEqual(self.events(tap), [])

    def test_filters_on_the_peer_apply_to_it(self) -> None:
        web, emoji = self.tap(TapMatch(peer=WEB)), self.tap(TapMatch(peer=EMOJI))
        handle = self.open()
        handle.opaque()
        handle.secured(MTLS)
        self.assertEqual((len(self.events(web)), len(self.events(emoji))), (1, 0))

    def test_opaque_bytes_are_not_looked_at(self) -> None:
        handle = self.open()
        handle.opaque()
        handle.client_data(b"?/a")
        self.assertEqual(self.detector.asked, [])

    def test_without_detectors_nothing_is_looked_at(self) -> None:
        handle = Flows(self.clock, self.metrics, self.hub, []).open(Direction.IN, CLIENT, SERVER)
        self.assertFalse(handle.watched)
        handle.client_data(b"?/a")
        handle.server_data(b"!200")


class DetectionTests(FlowCase):
    def test_the_protocol_is_found_over_several_chunks(self) -> None:
        self.detector._judge = lambda first: Detection.YES if b"?" in first else Detection.MORE
        tap = self.tap()
        handle = self.open()
        handle.secured(MTLS)
        for chunk in (b"a", b"?", b"/api"):
            handle.client_data(chunk)
        self.assertEqual(self.whats(tap), [a_request(path="")])
        self.assertEqual(self.detector.made[0].client, b"a?/api")
