from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from meshtx.observe.flow import Direction, FlowEnd, Request, Response, ResponseEnd
from meshtx.observe.tap import Answered, Finished, FlowOpened, FlowRefused, Lost, TapEvent, What
from meshtx.observe.tap_lines import json_line, text_line
from meshtx.rpc.messages import tap_pb2
from tests.observe.cases import MTLS, PLAIN, WEB, a_flow, a_request, event_message

ENDS = "src=10.1.0.4:48210 dst=10.1.0.2:80"


def message(what: What, direction: Direction = Direction.OUT, security: object = MTLS) -> tap_pb2.TapEvent:
    return event_message(TapEvent(1000.5, a_flow(direction, security, number=3), what), headers=True)


class TextLineTests(SynchronousTestCase):
    def assertLine(self, what: What, line: str, direction: Direction = Direction.OUT, security: object = MTLS) -> None:
        self.assertEqual(text_line(message(what, direction, security)), line)

    def test_request(self) -> None:
        self.assertLine(
            a_request(1),
            f"req id=3:1 proxy=out {ENDS} tls=true :method=GET :authority=web:80 :path=/api/list",
        )

    def test_inbound_is_padded_as_linkerd_does(self) -> None:
        self.assertLine(
            a_request(1),
            f"req id=3:1 proxy=in  {ENDS} tls=no_tls_from_remote :method=GET :authority=web:80 :path=/api/list",
            Direction.IN,
            PLAIN,
        )

    def test_response(self) -> None:
        self.assertLine(
            Answered(Response(1, 200), 0.00215), f"rsp id=3:1 proxy=out {ENDS} tls=true :status=200 latency=2150µs"
        )

    def test_end(self) -> None:
        self.assertLine(
            Finished(ResponseEnd(1, 98), 0.01, 0.000064),
            f"end id=3:1 proxy=out {ENDS} tls=true duration=64µs response-length=98B",
        )

    def test_end_of_a_grpc_call(self) -> None:
        for number, name in ((0, "OK"), (1, "Canceled"), (4, "DeadlineExceeded"), (99, "Code(99)")):
            self.assertLine(
                Finished(ResponseEnd(1, 0, grpc_status=number), 0.01, 0.0),
                f"end id=3:1 proxy=out {ENDS} tls=true grpc-status={name} duration=0µs response-length=0B",
            )

    def test_a_reset_is_shown_instead_of_a_status(self) -> None:
        self.assertLine(
            Finished(ResponseEnd(1, 0, grpc_status=0, reset=8), 0.01, 0.0),
            f"end id=3:1 proxy=out {ENDS} tls=true reset-error=8 duration=0µs response-length=0B",
        )

    def test_connections_without_requests(self) -> None:
        self.assertLine(FlowOpened(), f"tcp id=3 proxy=in  {ENDS} tls=no_tls_from_remote", Direction.IN, PLAIN)
        self.assertLine(
            FlowEnd(None, "", 0.5, 5, 7), f"end id=3 proxy=out {ENDS} tls=true duration=500000µs sent=5B received=7B"
        )
        self.assertLine(
            FlowEnd("reset", "by the server", 0.5, 5, 7),
            f"end id=3 proxy=out {ENDS} tls=true duration=500000µs sent=5B received=7B error=reset"
            ' detail="by the server"',
        )

    def test_a_refused_connection_has_its_reason(self) -> None:
        self.assertLine(
            FlowRefused("name_mismatch", 'it proved "x"'),
            rf'refused id=3 proxy=out {ENDS} tls=unknown reason=name_mismatch detail="it proved \"x\""',
            security=None,
        )

    def test_lost_events(self) -> None:
        lost = event_message(Lost(7), headers=False)
        self.assertEqual(text_line(lost, wide=True, target="web"), "lost count=7 target=web")
        self.assertEqual(json.loads(json_line(lost)), {"event": "lost", "count": 7})

    def test_wide_adds_the_peer_where_there_is_one(self) -> None:
        self.assertEqual(
            text_line(message(FlowOpened()), wide=True, target="10.1.0.2:4190"),
            f"tcp id=3 proxy=out {ENDS} tls=true peer={WEB} known=direct target=10.1.0.2:4190",
        )
        self.assertEqual(
            text_line(message(FlowOpened(), security=PLAIN), wide=True),
            f"tcp id=3 proxy=out {ENDS} tls=no_tls_from_remote known=direct",
        )

    def test_wide_and_json_say_how_the_source_is_known(self) -> None:
        event = message(FlowOpened())
        event.flow.known = "obscured"
        self.assertEqual(text_line(event, wide=True), f"tcp id=3 proxy=out {ENDS} tls=true peer={WEB} known=obscured")
        self.assertEqual(json.loads(json_line(event))["known"], "obscured")
        event.flow.known = ""  # a proxy of an earlier version
        self.assertEqual(text_line(event, wide=True), f"tcp id=3 proxy=out {ENDS} tls=true peer={WEB}")
        self.assertIsNone(json.loads(json_line(event))["known"])

    def test_wide_and_json_say_which_service_hides_it(self) -> None:
        event = message(FlowOpened(), security=PLAIN)
        event.flow.known, event.flow.hidden_by = "obscured", "shop/web public"
        self.assertEqual(
            text_line(event, wide=True, target="web"),
            f"tcp id=3 proxy=out {ENDS} tls=no_tls_from_remote known=obscured hidden_by=shop/web\\x20public target=web",
        )
        self.assertNotIn("hidden_by", text_line(event))
        self.assertEqual(json.loads(json_line(event))["hidden_by"], "shop/web public")

    def test_what_a_stranger_wrote_can_neither_move_the_cursor_nor_forge_a_field(self) -> None:
        evil = Request(1, "h2", "GE\x1bT", "web\r\nreq", "/ tls=true\x1b[2J\u202e\\")
        self.assertLine(
            evil,
            f"req id=3:1 proxy=out {ENDS} tls=no_tls_from_remote :method=GE\\x1bT :authority=web\\x0d\\x0areq"
            " :path=/\\x20tls=true\\x1b[2J\\u202e\\\\",
            security=PLAIN,
        )

    def test_an_event_of_a_later_version_is_no_crash(self) -> None:
        unknown = tap_pb2.TapEvent(flow=tap_pb2.Flow(id=1, src="a", dst="b", tls=""))
        self.assertEqual(text_line(unknown), "??? id=1 proxy=??? src=a dst=b tls=")
        self.assertEqual(json.loads(json_line(unknown))["event"], "???")


class JsonLineTests(SynchronousTestCase):
    COMMON = {
        "time": "1970-01-01T00:16:40.500Z",
        "flow": 3,
        "proxy": "out",
        "src": "10.1.0.4:48210",
        "known": "direct",
        "hidden_by": None,
        "dst": "10.1.0.2:80",
        "tls": "true",
        "peer": str(WEB),
    }

    def assertRecord(self, what: What, event: str, **specific: object) -> None:
        self.assertEqual(json.loads(json_line(message(what))), {"event": event, **self.COMMON, **specific})

    def test_request(self) -> None:
        self.assertRecord(
            a_request(1),
            "req",
            request=1,
            protocol="line",
            method="GET",
            authority="web:80",
            path="/api/list",
            headers=[["host", "web:80"]],
        )

    def test_response(self) -> None:
        self.assertRecord(
            Answered(Response(1, 200, (("a", "b"),)), 0.00215),
            "rsp",
            request=1,
            status=200,
            latency_us=2150,
            headers=[["a", "b"]],
        )

    def test_end(self) -> None:
        self.assertRecord(
            Finished(ResponseEnd(1, 98, grpc_status=5), 0.01, 0.000064),
            "end",
            request=1,
            latency_us=10000,
            duration_us=64,
            response_length=98,
            grpc_status="NotFound",
            reset_error=None,
        )
        self.assertRecord(
            Finished(ResponseEnd(1, 98, reset=-1), 0.01, 0.000064),
            "end",
            request=1,
            latency_us=10000,
            duration_us=64,
            response_length=98,
            grpc_status=None,
            reset_error=-1,
        )

    def test_connections_without_requests(self) -> None:
        self.assertRecord(FlowOpened(), "tcp")
        self.assertRecord(
            FlowEnd(None, "", 0.5, 5, 7), "tcp_end", duration_us=500000, sent=5, received=7, error=None, detail=""
        )
        self.assertRecord(FlowRefused("no_rule", "for b"), "refused", reason="no_rule", detail="for b")

    def test_an_object_is_one_line_of_ascii_whatever_a_stranger_wrote(self) -> None:
        line = json_line(message(Request(1, "h2", "GET", "web", "/\n\x1b\x7f\u202eé")), target="a:1")
        self.assertTrue(line.isascii() and line.isprintable())
        self.assertEqual((json.loads(line)["path"], json.loads(line)["target"]), ("/\n\x1b\x7f\u202eé", "a:1"))
