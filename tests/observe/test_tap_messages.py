from __future__ import annotations

from dataclasses import replace

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from twisted.trial.unittest import SynchronousTestCase

from meshtx.observe.flow import Direction, FlowEnd, Known, Request, Response, ResponseEnd
from meshtx.observe.tap import Answered, Finished, FlowOpened, FlowRefused, Lost, TapEvent, What
from meshtx.observe.tap_match import BadMatch, Place, TapMatch
from meshtx.observe.tap_messages import FLOWS, Encoder, match_message, match_of
from meshtx.rpc.messages import tap_pb2
from tests.observe.cases import PLAIN, WEB, a_flow, a_request, event_message

SECURE = tap_pb2.Flow(
    id=3,
    direction=tap_pb2.DIRECTION_IN,
    src="10.1.0.4:48210",
    dst="10.1.0.2:80",
    tls="true",
    peer=str(WEB),
    known="direct",
)


class EventMessageTests(SynchronousTestCase):
    def assertMessage(self, what: What, message: tap_pb2.TapEvent, *, headers: bool = True) -> None:
        message.time.CopyFrom(Timestamp(seconds=1000, nanos=500_000_000))
        message.flow.CopyFrom(SECURE)
        sent = event_message(TapEvent(1000.5, a_flow(number=3), what), headers=headers)
        self.assertEqual(sent, message)

    def test_request(self) -> None:
        request = Request(1, "h2", "GET", "web:80", "/é", (("host", "web"),))
        message = tap_pb2.Request(id=1, protocol="h2", method="GET", authority="web:80", path="/é")
        self.assertMessage(request, tap_pb2.TapEvent(request=message), headers=False)
        message.headers.add(name="host", value="web")
        self.assertMessage(request, tap_pb2.TapEvent(request=message))

    def test_response(self) -> None:
        message = tap_pb2.Response(id=1, status=200, latency=Duration(nanos=2_000_000))
        answered = Answered(Response(1, 200, (("a", "b"),)), 0.002)
        self.assertMessage(answered, tap_pb2.TapEvent(response=message), headers=False)
        message.headers.add(name="a", value="b")
        self.assertMessage(answered, tap_pb2.TapEvent(response=message))

    def test_response_end(self) -> None:
        message = tap_pb2.ResponseEnd(
            id=1, latency=Duration(seconds=2), duration=Duration(seconds=1), length=7, grpc_status=0, reset=-1
        )
        self.assertMessage(Finished(ResponseEnd(1, 7, 0, -1), 2.0, 1.0), tap_pb2.TapEvent(response_end=message))

    def test_what_an_answer_did_not_have_is_absent(self) -> None:
        message = event_message(TapEvent(0.0, a_flow(), Finished(ResponseEnd(1, 7), 0.0, 0.0)), headers=False)
        self.assertFalse(message.response_end.HasField("grpc_status"))
        self.assertFalse(message.response_end.HasField("reset"))

    def test_connections(self) -> None:
        self.assertMessage(FlowOpened(), tap_pb2.TapEvent(flow_opened=tap_pb2.FlowOpened()))
        ended = tap_pb2.FlowEnded(duration=Duration(seconds=1), sent=5, received=7)
        self.assertMessage(FlowEnd(None, "", 1.0, 5, 7), tap_pb2.TapEvent(flow_ended=ended))
        refused = tap_pb2.FlowEnded(error="no_rule", detail="for b", refused=True)
        self.assertMessage(FlowRefused("no_rule", "for b"), tap_pb2.TapEvent(flow_ended=refused))

    def test_plaintext_has_its_reason_and_no_peer(self) -> None:
        flow = event_message(TapEvent(0.0, a_flow(Direction.OUT, PLAIN), FlowOpened()), headers=False).flow
        self.assertEqual((flow.tls, flow.peer, flow.direction), ("no_tls_from_remote", "", tap_pb2.DIRECTION_OUT))
        self.assertEqual(
            event_message(TapEvent(0.0, a_flow(security=None), FlowOpened()), headers=False).flow.tls, "unknown"
        )

    def test_which_service_hides_the_client(self) -> None:
        hidden = replace(a_flow(), known=Known.OBSCURED, hidden_by="shop/web")
        flow = event_message(TapEvent(0.0, hidden, FlowOpened()), headers=False).flow
        self.assertEqual((flow.known, flow.hidden_by), ("obscured", "shop/web"))

    def test_lost(self) -> None:
        self.assertEqual(event_message(Lost(7), headers=False), tap_pb2.TapEvent(lost=tap_pb2.Lost(count=7)))

    def test_what_utf_8_cannot_carry_is_replaced(self) -> None:
        message = event_message(TapEvent(0.0, a_flow(), Request(0, "h2", "GET", "a", "/\udcff")), headers=False)
        self.assertEqual(message.request.path, "/?")


class EncoderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.encoder = Encoder()

    def flow_of(self, event: TapEvent) -> tap_pb2.Flow:
        return tap_pb2.TapEvent.FromString(self.encoder.encode(event, headers=False)).flow

    def test_each_event_has_its_own_connection(self) -> None:
        flows = [a_flow(number=number) for number in range(3)]
        for flow in (*flows, *flows):
            self.assertEqual(self.flow_of(TapEvent(0.0, flow, FlowOpened())).id, flow.id)

    def test_a_connection_that_is_known_better_is_another_value(self) -> None:
        for security in (None, PLAIN):
            flow = self.flow_of(TapEvent(0.0, a_flow(security=security), FlowOpened()))
            self.assertEqual(flow.tls, "unknown" if security is None else "no_tls_from_remote")

    def test_many_connections_are_told_apart_and_forgotten(self) -> None:
        for number in range(2 * FLOWS + 1):
            self.assertEqual(self.flow_of(TapEvent(0.0, a_flow(number=number), FlowOpened())).id, number)
        self.assertLessEqual(len(self.encoder._flows), FLOWS)

    def test_an_event_is_encoded_once_for_all_taps(self) -> None:
        event = TapEvent(0.0, a_flow(), a_request())
        octets = self.encoder.encode(event, headers=True)
        self.assertIs(Encoder().encode(event, headers=True), octets)

    def test_a_tap_that_wants_no_headers_is_not_sent_those_of_another(self) -> None:
        event = TapEvent(0.0, a_flow(), a_request())
        for headers in (True, False, True, False):
            message = tap_pb2.TapEvent.FromString(Encoder().encode(event, headers=headers))
            self.assertEqual(len(message.request.headers), headers)


class MatchMessageTests(SynchronousTestCase):
    def test_filters_survive_the_wire(self) -> None:
        match = TapMatch(
            methods=frozenset({"POST", "GET"}),
            path_prefix="/api",
            authority="web:80",
            peer=WEB,
            direction=Direction.OUT,
            sources=(Place.parse("10.1.0.4:80"), Place.parse("fd00::/16")),
            destinations=(Place.parse("[fd00::1]:80"),),
        )
        for each in (match, TapMatch(), TapMatch(direction=Direction.IN)):
            data = match_message(each).SerializeToString()
            self.assertEqual(match_of(tap_pb2.Match.FromString(data)), each)

    def test_what_cannot_be_read_is_named(self) -> None:
        for message in (
            tap_pb2.Match(peer="web"),
            tap_pb2.Match(destinations=["web"]),
            tap_pb2.Match(sources=["web"]),
        ):
            self.assertIn("'web'", str(self.assertRaises(BadMatch, match_of, message)))
        self.assertRaises(BadMatch, match_of, tap_pb2.Match(direction=7))
