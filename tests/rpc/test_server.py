"""The server's own decisions, against a peer made of h2 alone."""

from __future__ import annotations

from typing import Any

from google.protobuf.wrappers_pb2 import BytesValue
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    PingAckReceived,
    ResponseReceived,
    StreamReset,
    TrailersReceived,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshtx.rpc.call import MAX_WAITING, Call
from meshtx.rpc.frame_filter import PREFACE
from meshtx.rpc.framing import encode_message
from meshtx.rpc.http2 import LINGER, MAX_CONTROL
from meshtx.rpc.server import PREFACE_TIMEOUT, RpcServer
from meshtx.rpc.status import RpcError, Status
from tests.rpc.memory import Caller, MemoryTransport
from tests.rpc.support import ECHO, REPEAT, message


class ServerCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.waiting: list[Deferred[None]] = []
        self.cancelled: list[bytes] = []
        self.calls: list[Call] = []

    async def echo(self, request: BytesValue, _call: Call) -> BytesValue:
        return request

    async def hang(self, request: BytesValue, call: Call) -> BytesValue:
        """Answer when the test lets it."""
        waiter: Deferred[None] = Deferred()
        self.waiting.append(waiter)
        self.calls.append(call)
        try:
            await waiter
        except CancelledError:
            self.cancelled.append(request.value)
            raise
        return request

    def caller(self, handler: Any = None, **options: Any) -> Caller:
        self.server = RpcServer({ECHO: handler or self.echo}, self.clock, **options)
        return Caller(self.server, self.clock)

    def tearDown(self) -> None:
        self.assertEqual([call.func for call in self.clock.getDelayedCalls()], [], "a timer is left behind")


class Requests(ServerCase):
    def test_an_answer_is_head_messages_and_trailers(self) -> None:
        caller = self.caller()
        data = encode_message(message(b"hi").SerializeToString())
        stream_id = caller.call(data)
        self.assertEqual(
            [(event.headers, event.stream_ended) for event in caller.of(ResponseReceived)],
            [
                (
                    [(":status", "200"), ("content-type", "application/grpc"), ("grpc-accept-encoding", "identity")],
                    None,
                )
            ],
        )
        self.assertEqual([event.data for event in caller.of(DataReceived)], [data])
        self.assertEqual([event.headers for event in caller.of(TrailersReceived)], [[("grpc-status", "0")]])
        self.assertEqual(caller.of(StreamReset), [])
        self.assertEqual(caller.status(stream_id), ("0", None))
        caller.lose()

    def test_what_is_not_grpc_is_answered_as_http(self) -> None:
        for changed, answer in [
            ({"method": "GET"}, [(":status", "405"), ("allow", "POST")]),
            ({"content_type": "application/json"}, [(":status", "415"), ("accept", "application/grpc")]),
            ({"content_type": "application/grpc+json"}, [(":status", "415"), ("accept", "application/grpc")]),
        ]:
            caller = self.caller()
            caller.call(**changed)
            self.assertEqual([event.headers for event in caller.of(ResponseReceived)], [answer])
            caller.lose()

    def test_what_is_refused_at_once_ends_with_its_head_and_a_reset(self) -> None:
        for changed, status in [
            ({"path": "/test.Echo/Nothing"}, ("12", "unknown method /test.Echo/Nothing")),
            ({"grpc_timeout": "soon"}, ("13", "malformed grpc-timeout")),
        ]:
            caller = self.caller()
            stream_id = caller.open(**changed)
            caller.flush()
            self.assertEqual(caller.status(stream_id), status)
            self.assertIsNotNone(caller.of(ResponseReceived)[0].stream_ended)
            self.assertEqual([event.error_code for event in caller.of(StreamReset)], [ErrorCodes.NO_ERROR])
            caller.lose()

    def test_a_request_is_exactly_one_whole_message(self) -> None:
        one = encode_message(b"")
        for data, status in [
            (b"", ("12", "the request ended without a whole message")),
            (one[:3], ("12", "the request ended without a whole message")),
            (one + one, ("12", "more than one message in a request")),
            (one + b"\0", ("12", "the request ended without a whole message")),
            (b"\1" + one[1:], ("12", "message with flag 1")),
            (b"\2" + one[1:], ("13", "message with flag 2")),
            (encode_message(b"\xff"), ("13", "the bytes are no google.protobuf.BytesValue")),
        ]:
            caller = self.caller()
            self.assertEqual(caller.status(caller.call(data)), status)
            caller.lose()

    def test_a_message_past_the_bound_is_refused_by_its_length_alone(self) -> None:
        caller = self.caller(max_message=1000)
        stream_id = caller.open()
        caller.h2.send_data(stream_id, b"\0\0\0\x03\xe9")
        caller.flush()
        self.assertEqual(caller.status(stream_id), ("8", "message of 1001 bytes, at most 1000"))
        self.assertEqual([event.error_code for event in caller.of(StreamReset)], [ErrorCodes.NO_ERROR])
        caller.lose()

    def test_requests_held_are_bounded_over_all_connections(self) -> None:
        caller = self.caller(max_message=1000, max_held=1500)
        other = Caller(self.server, self.clock)
        for each in (caller, other):
            stream_id = each.open()
            each.h2.send_data(stream_id, b"\0\0\0\x03\xe8" + b"x" * 900)
            each.flush()
        self.assertEqual(caller.status(1), (None, None))
        self.assertEqual(other.status(1), ("8", "the server holds as many requests as it can"))
        caller.lose()
        self.assertEqual(other.status(other.call()), ("0", None))
        other.lose()

    def test_one_stream_too_many_is_refused_alone(self) -> None:
        caller = self.caller(self.hang, max_streams=2)
        caller.h2.remote_settings.update({3: 100})
        caller.h2.remote_settings.acknowledge()
        ids = [caller.call() for _ in range(3)]
        self.assertEqual(
            [(event.stream_id, event.error_code) for event in caller.of(StreamReset)],
            [(ids[2], ErrorCodes.REFUSED_STREAM)],
        )
        for waiter in self.waiting:
            waiter.callback(None)
        caller.flush()
        self.assertEqual([caller.status(stream_id)[0] for stream_id in ids], ["0", "0", None])
        self.assertEqual(caller.status(caller.call())[0], None)  # it hangs again: it was taken
        caller.lose()

    def test_the_peers_name_is_the_sessions(self) -> None:
        caller = self.caller(self.hang)
        caller.call()
        self.assertIsNone(self.calls[0].peer)
        caller.lose()


class Times(ServerCase):
    def test_a_deadline_cancels_the_handler_and_ends_the_call(self) -> None:
        caller = self.caller(self.hang)
        stream_id = caller.call(grpc_timeout="1500m")
        self.clock.advance(1.4)
        self.assertEqual(self.cancelled, [])
        self.clock.advance(0.2)
        caller.flush()
        self.assertEqual(self.cancelled, [b""])
        self.assertEqual(caller.status(stream_id), ("4", "the caller's deadline has passed"))
        caller.lose()

    def test_a_deadline_of_years_is_no_timer(self) -> None:
        caller = self.caller(self.hang)
        caller.call(grpc_timeout="99999999H")
        self.assertEqual(self.clock.getDelayedCalls(), [])
        caller.lose()

    def test_a_request_that_does_not_come_is_given_up(self) -> None:
        caller = self.caller(request_timeout=20)
        stream_id = caller.open()
        caller.flush()
        self.clock.advance(20)
        caller.flush()
        self.assertEqual(caller.status(stream_id), ("4", "the request did not come"))
        caller.lose()

    def test_an_answer_that_is_not_taken_is_given_up(self) -> None:
        caller = self.caller(request_timeout=20)
        caller.protocol.pauseProducing()
        stream_id = caller.call(encode_message(message(b"x" * 1000).SerializeToString()))
        self.clock.advance(20)
        self.assertEqual([event.error_code for event in caller.of(StreamReset, stream_id)], [])
        caller.flush()
        self.assertEqual([event.error_code for event in caller.of(StreamReset)], [ErrorCodes.CANCEL])
        self.assertTrue(self.server.budget.take(64 * 4 * 2**20))
        caller.lose()

    def test_a_client_that_says_nothing_is_cut_off(self) -> None:
        server = RpcServer({}, self.clock)
        caller = Caller(server, self.clock, greet=False)
        self.clock.advance(PREFACE_TIMEOUT - 1)
        self.assertFalse(caller.gone)
        caller.protocol.dataReceived(PREFACE[:20])  # bytes are not a preface
        self.clock.advance(1)
        self.assertTrue(caller.transport.aborted)
        caller.lose()

    def test_an_idle_client_that_spoke_may_stay(self) -> None:
        caller = self.caller()
        self.clock.advance(100_000)
        self.assertFalse(caller.gone)
        caller.lose()


class Endings(ServerCase):
    def test_a_reset_cancels_the_handler(self) -> None:
        caller = self.caller(self.hang)
        stream_id = caller.call()
        caller.h2.reset_stream(stream_id, ErrorCodes.CANCEL)
        caller.flush()
        self.assertEqual(self.cancelled, [b""])
        self.assertEqual(caller.status(stream_id), (None, None))
        caller.lose()

    def test_a_lost_connection_cancels_all_its_handlers(self) -> None:
        caller = self.caller(self.hang)
        caller.call()
        caller.call()
        caller.lose()
        self.assertEqual(self.cancelled, [b"", b""])
        self.assertEqual(self.server.open, set())

    def test_a_client_that_closes_its_sending_side_is_closed(self) -> None:
        caller = self.caller(self.hang)
        caller.call()
        caller.protocol.readConnectionLost()
        self.assertTrue(caller.transport.disconnecting)  # which a producer would have held up
        caller.protocol.writeConnectionLost()
        caller.lose()
        self.assertEqual(self.cancelled, [b""])

    def test_an_answer_to_a_connection_that_is_closing_goes_nowhere(self) -> None:
        caller = self.caller(self.hang)
        caller.call()
        caller.protocol.shut()
        self.waiting[0].callback(None)
        self.assertEqual(bytes(caller.transport.written), b"")
        caller.lose()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_handler_that_cancels_itself_is_a_defect(self) -> None:
        async def broken(_request: BytesValue, _call: Call) -> BytesValue:
            raise CancelledError

        caller = self.caller(broken)
        self.assertEqual(caller.status(caller.call()), ("13", "internal error"))
        self.assertEqual(len(self.flushLoggedErrors(CancelledError)), 1)
        caller.lose()

    def test_stopping_lets_calls_end_and_takes_no_new_ones(self) -> None:
        caller = self.caller(self.hang)
        idle = Caller(self.server, self.clock)
        first = caller.call()
        stopped = self.server.stop(grace=10)
        idle.flush()
        self.assertTrue(idle.transport.disconnecting)
        self.assertEqual([event.error_code for event in idle.of(ConnectionTerminated)], [ErrorCodes.NO_ERROR])
        self.assertFalse(caller.gone)
        self.assertNoResult(stopped)
        self.waiting[0].callback(None)
        said = bytes(caller.transport.written)
        self.assertIn(b"\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x01", said)  # GOAWAY, last stream 1
        self.assertTrue(caller.transport.disconnecting)
        self.assertEqual(first, 1)
        caller.lose()
        idle.lose()
        self.assertIsNone(self.successResultOf(stopped))

    def test_after_a_goaway_a_new_call_is_refused_and_the_old_ends(self) -> None:
        caller = self.caller(self.hang)
        caller.call()
        self.server.stop(grace=10)
        caller.transport.written.clear()  # the client has not seen it yet
        late = caller.call()
        self.assertEqual(
            [(e.stream_id, e.error_code) for e in caller.of(StreamReset)], [(late, ErrorCodes.REFUSED_STREAM)]
        )
        self.assertEqual(len(self.waiting), 1)
        caller.lose()

    def test_what_does_not_end_in_time_is_cut(self) -> None:
        caller = self.caller(self.hang)
        caller.call()
        stopped = self.server.stop(grace=10)
        self.clock.advance(10)
        self.assertTrue(caller.transport.aborted)
        caller.lose()
        self.successResultOf(stopped)
        self.assertEqual(self.cancelled, [b""])

    def test_a_server_without_connections_stops_at_once(self) -> None:
        self.successResultOf(RpcServer({}, self.clock).stop(10))

    def test_a_connection_that_comes_while_it_stops_is_closed(self) -> None:
        self.caller(self.hang).call()
        self.server.stop(grace=10)
        late = Caller(self.server, self.clock, greet=False)
        self.assertTrue(late.transport.disconnecting)
        late.lose()
        for connection in list(self.server.open):
            connection.connectionLost()

    def test_a_client_that_goes_away_gets_what_runs(self) -> None:
        caller = self.caller(self.hang)
        caller.call()
        caller.protocol.dataReceived(b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + b"\0" * 8)
        self.assertFalse(caller.gone)
        self.waiting[0].callback(None)
        caller.flush()
        self.assertEqual(caller.status(1), ("0", None))
        self.assertTrue(caller.transport.disconnecting)
        caller.lose()

    def test_a_frame_past_the_bound_closes_by_its_header_and_at_last_aborts(self) -> None:
        caller = self.caller()
        caller.protocol.dataReceived(b"\x00\x40\x01\x00")
        self.assertFalse(caller.gone)
        caller.protocol.dataReceived(b"\x00\x00\x00\x00\x01")  # 16,385 bytes of DATA are announced
        self.assertTrue(caller.transport.disconnecting)
        self.assertFalse(caller.transport.aborted)
        self.clock.advance(LINGER)
        self.assertTrue(caller.transport.aborted)
        caller.flush()
        self.assertEqual([e.error_code for e in caller.of(ConnectionTerminated)], [ErrorCodes.FRAME_SIZE_ERROR])
        caller.lose()


class Streams(ServerCase):
    def stream(self, handler: Any) -> tuple[Caller, int]:
        self.server = RpcServer({REPEAT: handler}, self.clock)
        caller = Caller(self.server, self.clock)
        return caller, caller.call(path=REPEAT.path)

    def test_ready_waits_while_the_transport_is_full(self) -> None:
        steps: list[str] = []

        async def repeat(_request: BytesValue, call: Call) -> None:
            call.send(message(b"first"))
            self.calls.append(call)
            await self.hang(message(), call)
            call.send(message(b"x" * 100_000))
            steps.append("sent")
            await call.ready()
            steps.append("ready")

        caller, stream_id = self.stream(repeat)
        caller.protocol.pauseProducing()
        self.waiting[0].callback(None)
        self.assertEqual(steps, ["sent"])
        self.assertEqual(bytes(caller.transport.written), b"")
        caller.protocol.resumeProducing()
        self.assertEqual(steps, ["sent", "ready"])
        while caller.status(stream_id) == (None, None):
            for event in caller.of(DataReceived):
                caller.h2.acknowledge_received_data(event.flow_controlled_length, stream_id)
            caller.events.clear()
            caller.flush()
        caller.lose()

    def test_ready_waits_while_the_window_is_shut(self) -> None:
        sent = 0

        async def repeat(_request: BytesValue, call: Call) -> None:
            nonlocal sent
            while sent < 100:
                await call.ready()
                call.send(message(b"x" * 10_000))
                sent += 1

        caller, stream_id = self.stream(repeat)
        self.assertEqual(sent, 14)  # a window of 65,535 bytes, and as many waiting
        caller.h2.increment_flow_control_window(2**20)
        caller.h2.increment_flow_control_window(2**20, stream_id)
        caller.flush()
        self.assertEqual(sent, 100)
        self.assertEqual(caller.status(stream_id), ("0", None))
        caller.lose()

    def test_a_handler_that_does_not_wait_is_stopped(self) -> None:
        sent = 0

        async def flood(_request: BytesValue, call: Call) -> None:
            nonlocal sent
            while True:
                call.send(message(b"x" * 100_000))
                sent += 1

        caller, stream_id = self.stream(flood)
        self.assertLess(sent * 100_000, MAX_WAITING + 300_000)
        caller.h2.increment_flow_control_window(2**22)
        caller.h2.increment_flow_control_window(2**22, stream_id)
        caller.flush()
        self.assertEqual(caller.status(stream_id), ("8", "the caller reads too slowly"))
        caller.lose()

    def test_nothing_can_be_sent_to_a_caller_who_is_gone(self) -> None:
        errors: list[Status] = []

        async def late(_request: BytesValue, call: Call) -> None:
            self.calls.append(call)
            try:
                await Deferred()
            except CancelledError:
                for attempt in (call.ready, lambda: call.send(message())):
                    try:
                        await (attempt() or Deferred())
                    except RpcError as error:
                        errors.append(error.status)

        caller, stream_id = self.stream(late)
        caller.h2.reset_stream(stream_id)
        caller.flush()
        self.assertEqual(errors, [Status.CANCELLED, Status.CANCELLED])
        caller.lose()

    def test_who_waits_for_ready_is_cancelled_with_the_call(self) -> None:
        ended: list[str] = []

        async def repeat(_request: BytesValue, call: Call) -> None:
            call.send(message(b"x" * 200_000))
            other = call.ready()
            other.addErrback(lambda failure: ended.append(failure.value.status.name))
            try:
                await call.ready()
            finally:
                ended.append("handler")

        caller, _ = self.stream(repeat)
        caller.lose()
        self.assertEqual(ended, ["handler", "CANCELLED"])


class Floods(ServerCase):
    """Each costs its sender nothing, and us at most this much."""

    def flooded(self, caller: Caller) -> bool:
        """Say whether the server has told the client to calm down."""
        caller.flush()
        codes = [event.error_code for event in caller.of(ConnectionTerminated)]
        return codes == [ErrorCodes.ENHANCE_YOUR_CALM] and caller.transport.disconnecting

    def test_pings(self) -> None:
        caller = self.caller()
        for _ in range(900):
            caller.h2.ping(b"12345678")
        caller.flush()
        self.assertEqual(len(caller.of(PingAckReceived)), 900)
        self.assertFalse(caller.gone)
        self.clock.advance(60)
        for _ in range(1100):
            caller.h2.ping(b"12345678")
        self.assertTrue(self.flooded(caller))
        caller.lose()

    def test_settings(self) -> None:
        caller = self.caller()
        for _ in range(1100):
            caller.protocol.dataReceived(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
            caller.transport.written.clear()
            if caller.gone:
                break
        self.assertTrue(caller.transport.disconnecting)
        caller.lose()

    def test_rapid_resets(self) -> None:
        caller = self.caller(self.hang)
        for _ in range(1100):
            caller.h2.reset_stream(caller.call())
            caller.flush()
            if caller.gone:
                break
        self.assertTrue(self.flooded(caller))
        self.assertLess(len(self.waiting), 1010)
        self.assertEqual(len(self.cancelled), len(self.waiting))
        caller.lose()

    def test_empty_data_frames(self) -> None:
        caller = self.caller()
        stream_id = caller.open()
        for _ in range(1100):
            caller.h2.send_data(stream_id, b"")
        self.assertTrue(self.flooded(caller))
        caller.lose()

    def test_answers_to_a_client_that_does_not_read(self) -> None:
        caller = self.caller()
        caller.protocol.pauseProducing()
        written = 0
        ping = b"\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678"
        for _ in range(100):
            caller.protocol.dataReceived(ping * 100)
            written = max(written, len(caller.transport.written))
            self.clock.advance(60)  # never too many at once
        self.assertTrue(caller.transport.aborted)
        self.assertLessEqual(written, MAX_CONTROL)
        caller.lose()

    def test_the_encoder_remembers_no_more_than_it_did(self) -> None:
        caller = self.caller()
        caller.h2.update_settings({1: 2**30})
        caller.flush()
        self.assertEqual(caller.protocol._h2.encoder.header_table_size, 4096)
        caller.lose()

    def test_a_header_block_past_the_bound_ends_the_connection(self) -> None:
        caller = self.caller()
        caller.h2.max_outbound_frame_size = 2**14
        caller.open(x_long="x" * 20_000)
        caller.flush()
        self.assertTrue(caller.gone)
        caller.lose()


class Connections(ServerCase):
    def test_the_connection_that_was_idle_longest_makes_room(self) -> None:
        server = RpcServer({ECHO: self.hang}, self.clock, max_connections=3)
        busy, first, second = (Caller(server, self.clock) for _ in range(3))
        busy.call()
        third = Caller(server, self.clock)
        self.assertEqual([each.gone for each in (busy, first, second, third)], [False, True, False, False])
        self.assertTrue(first.transport.disconnecting)
        for each in (busy, first, second, third):
            each.lose()

    def test_with_all_at_work_a_new_one_is_refused(self) -> None:
        server = RpcServer({ECHO: self.hang}, self.clock, max_connections=1)
        busy = Caller(server, self.clock)
        busy.call()
        late = Caller(server, self.clock, greet=False)
        self.assertTrue(late.transport.aborted)
        late.lose()
        self.waiting[0].callback(None)
        busy.flush()
        self.assertFalse(Caller(server, self.clock).gone)
        self.assertTrue(busy.gone)
        for connection in list(server.open):
            connection.connectionLost()


class Garbage(SynchronousTestCase):
    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.binary(max_size=200), max_size=4), st.booleans())
    def test_random_bytes_never_raise(self, chunks: list[bytes], greet: bool) -> None:
        clock = Clock()
        server = RpcServer({}, clock)
        protocol = server.protocol(None)
        transport = MemoryTransport()
        protocol.makeConnection(transport)  # type: ignore[arg-type]
        if greet:
            protocol.dataReceived(PREFACE + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        for chunk in chunks:
            protocol.dataReceived(chunk)
        clock.advance(PREFACE_TIMEOUT + LINGER)
        protocol.connectionLost(None)  # type: ignore[arg-type]

    @settings(max_examples=500, deadline=None)
    @given(
        st.lists(
            st.tuples(st.integers(0, 10), st.integers(0, 255), st.integers(0, 9), st.binary(max_size=40)), max_size=8
        )
    )
    def test_random_frames_never_raise(self, frames: list[tuple[int, int, int, bytes]]) -> None:
        clock = Clock()

        async def echo(request: BytesValue, _call: Call) -> BytesValue:
            return request

        caller = Caller(RpcServer({ECHO: echo}, clock), clock)
        caller.call()
        for kind, flags, stream_id, payload in frames:
            header = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big")
            caller.protocol.dataReceived(header + payload)
        caller.lose()
