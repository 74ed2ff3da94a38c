"""The server's own decisions, against a peer made of h2 alone."""

from __future__ import annotations

from google.protobuf.wrappers_pb2 import BytesValue
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    ResponseReceived,
    StreamReset,
    TrailersReceived,
)
from twisted.internet.defer import CancelledError, Deferred

from meshtx.rpc.call import Call
from meshtx.rpc.framing import encode_message
from meshtx.rpc.http2 import LINGER
from meshtx.rpc.server import RpcServer
from tests.rpc.memory import Caller
from tests.rpc.server_case import ServerCase
from tests.rpc.support import ECHO, message


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
        caller.flush()
        self.assertEqual(caller.status(1), ("8", "the server holds as many requests as it can"))
        self.assertEqual((other.status(1), self.server.budget.left), ((None, None), 1500 - 905))
        self.assertEqual(caller.status(caller.call()), ("0", None))
        for each in (caller, other):
            each.lose()
        self.assertEqual(self.server.budget.left, 1500)

    def test_one_that_is_to_be_held_with_no_other_is_refused_itself(self) -> None:
        caller = self.caller(max_message=1000, max_held=500)
        stream_id = caller.open()
        caller.h2.send_data(stream_id, b"\0\0\0\x03\xe8" + b"x" * 900)
        caller.flush()
        self.assertEqual(caller.status(stream_id), ("8", "the server holds as many requests as it can"))
        self.assertEqual(self.server.budget.left, 500)
        caller.lose()

    def test_a_request_that_is_being_answered_does_not_go_for_others(self) -> None:
        caller = self.caller(self.hang, max_message=1000, max_held=1500)
        caller.call(encode_message(message(b"x" * 900).SerializeToString()))
        other = Caller(self.server, self.clock)
        stream_id = other.open()
        other.h2.send_data(stream_id, b"\0\0\0\x03\xe8" + b"x" * 900)
        other.flush()
        self.assertEqual(other.status(stream_id), ("8", "the server holds as many requests as it can"))
        self.waiting[0].callback(None)
        caller.flush()
        self.assertEqual(caller.status(1), ("0", None))
        for each in (caller, other):
            each.lose()

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


class Endings(ServerCase):
    def test_a_reset_cancels_the_handler(self) -> None:
        caller = self.caller(self.hang)
        stream_id = caller.call()
        caller.h2.reset_stream(stream_id, ErrorCodes.CANCEL)
        caller.flush()
        self.assertEqual(self.cancelled, [b""])
        self.assertEqual(caller.status(stream_id), (None, None))
        caller.lose()

    def test_a_call_that_is_reset_in_the_same_breath_is_none(self) -> None:
        for path, early in (("/test.Echo/Echo", False), ("/test.Echo/Echo", True), ("/test.Echo/Nothing", False)):
            caller = self.caller()
            stream_id = caller.open(path=path)
            if early:
                caller.flush()
            caller.h2.send_data(stream_id, encode_message(b""), end_stream=True)
            caller.h2.reset_stream(stream_id, ErrorCodes.CANCEL)
            caller.flush()
            self.assertEqual((caller.gone, caller.status(stream_id)), (False, (None, None)))
            self.assertEqual(caller.status(caller.call())[0], "0")
            caller.lose()

    def test_an_answer_leaves_others_alone_that_are_reset_in_the_same_breath(self) -> None:
        """One that waits for the window, which opens behind the reset, and one that is answered with it."""

        async def both(_request: BytesValue, call: Call) -> BytesValue:
            self.calls.append(call)
            if len(self.calls) == 2:
                waiter: Deferred[None] = Deferred()
                self.waiting.append(waiter)
                await waiter
            elif len(self.calls) == 3:
                self.waiting[0].callback(None)
            return message(b"x" * 70_000 if len(self.calls) == 1 else b"")

        for opened in (1000, 0):
            self.calls, self.waiting = [], []
            caller = self.caller(both)
            large, waits = caller.call(), caller.call()
            last = caller.open()
            caller.h2.send_data(last, encode_message(b""), end_stream=True)
            if opened:
                caller.h2.increment_flow_control_window(opened)
                caller.h2.increment_flow_control_window(opened, large)
            caller.h2.reset_stream(large, ErrorCodes.CANCEL)
            caller.h2.reset_stream(waits, ErrorCodes.CANCEL)
            if not opened:
                caller.open()
            caller.flush()
            self.assertEqual(self.flushLoggedErrors(), [])
            caller.h2.increment_flow_control_window(2**17)
            caller.flush()
            self.assertEqual([caller.status(each)[0] for each in (large, waits, last)], [None, None, "0"])
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

    def test_what_a_client_only_begins_keeps_no_place(self) -> None:
        """Neither a request that does not come, nor an answer that is not taken: many would keep all others out."""
        server = RpcServer({ECHO: self.echo}, self.clock, max_connections=2)
        sends, takes = (Caller(server, self.clock) for _ in range(2))
        sends.open()
        sends.flush()
        takes.protocol.pauseProducing()
        takes.call(encode_message(message(b"x" * 1000).SerializeToString()))
        late = [Caller(server, self.clock) for _ in range(2)]
        self.assertEqual([each.transport.aborted for each in (sends, takes, *late)], [True, True, False, False])
        for each in (sends, takes, *late):
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
