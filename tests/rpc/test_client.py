"""The client's own decisions, against a peer made of h2 alone."""

from __future__ import annotations

from typing import Any

from google.protobuf.wrappers_pb2 import BytesValue
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, RequestReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshtx.rpc.client import MAX_QUEUE, WINDOW, RpcClient
from meshtx.rpc.frame_filter import encode_goaway
from meshtx.rpc.framing import encode_message
from meshtx.rpc.status import RpcError, Status
from tests.effort import examples
from tests.rpc.memory import MemoryTransport, Peer
from tests.rpc.support import ECHO, REPEAT, message

HEAD = [(":status", "200"), ("content-type", "application/grpc")]
OK = [("grpc-status", "0")]


def framed(value: bytes = b"") -> bytes:
    return encode_message(message(value).SerializeToString())


class ClientCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.client = RpcClient(self.clock, authority="peer", max_message=100_000)
        self.server = Peer(self.client, self.clock, client=False)

    def tearDown(self) -> None:
        self.server.lose()
        self.assertEqual(self.clock.getDelayedCalls(), [], "a timer is left behind")

    def call(self, timeout: float = 10) -> Deferred[BytesValue]:
        call = self.client.call(ECHO, message(), timeout)
        self.server.flush()
        return call

    def answer(self, stream_id: int, *parts: Any) -> None:
        """Answer with header blocks and bytes; the last one ends the stream."""
        for part in parts:
            end = part is parts[-1]
            if isinstance(part, bytes):
                self.server.h2.send_data(stream_id, part, end_stream=end)
            else:
                self.server.h2.send_headers(stream_id, part, end_stream=end)
        self.server.flush()

    def refused(self, call: Deferred[Any]) -> tuple[Status, str]:
        error = self.failureResultOf(call, RpcError).value
        return error.status, error.message


class Calls(ClientCase):
    def test_a_request_is_a_head_one_message_and_an_end(self) -> None:
        self.call(timeout=2).addErrback(lambda _: None)
        self.assertEqual(
            [event.headers for event in self.server.of(RequestReceived)],
            [
                [
                    (":method", "POST"),
                    (":scheme", "https"),
                    (":path", "/test.Echo/Echo"),
                    (":authority", "peer"),
                    ("te", "trailers"),
                    ("content-type", "application/grpc"),
                    ("grpc-timeout", "2000000u"),
                ]
            ],
        )
        self.assertEqual(b"".join(event.data for event in self.server.of(DataReceived)), framed())
        self.assertEqual(len(self.server.of(StreamEnded)), 1)

    def test_an_answer(self) -> None:
        call = self.call()
        self.answer(1, HEAD, framed(b"hi"), OK)
        self.assertEqual(self.successResultOf(call), message(b"hi"))
        self.assertEqual(self.server.of(StreamReset), [])

    def test_answers_that_are_no_answers(self) -> None:
        for parts, expected in [
            ((HEAD, OK), (Status.INTERNAL, "no message in the answer")),
            ((HEAD, framed() + framed(), OK), (Status.INTERNAL, "more than one message in the answer")),
            ((HEAD, framed()[:-1], OK), (Status.INTERNAL, "the answer ended in the middle of a message")),
            ((HEAD, framed()), (Status.UNKNOWN, "the answer ended without a status")),
            ((HEAD, b"\1\0\0\0\0", OK), (Status.UNIMPLEMENTED, "message with flag 1")),
            ((HEAD, b"\0\0\1\x86\xa1"), (Status.RESOURCE_EXHAUSTED, "message of 100001 bytes, at most 100000")),
            ((HEAD, encode_message(b"\xff"), OK), (Status.INTERNAL, "the bytes are no google.protobuf.BytesValue")),
            (([*HEAD, ("grpc-status", "5"), ("grpc-message", "a%20b")],), (Status.NOT_FOUND, "a b")),
            ((HEAD, [("grpc-status", "77")]), (Status.UNKNOWN, "")),
            (([(":status", "503")],), (Status.UNAVAILABLE, "the server answered with HTTP status 503")),
            (([(":status", "404")], b"page"), (Status.UNIMPLEMENTED, "the server answered with HTTP status 404")),
            (
                ([(":status", "200"), ("content-type", "text/html")], b"page"),
                (Status.UNKNOWN, "the server answered with content type 'text/html', which is not gRPC"),
            ),
        ]:
            call = self.call()
            self.answer(self.server.of(RequestReceived)[-1].stream_id, *parts)
            self.assertEqual(self.refused(call), expected)
            self.assertEqual(self.client._calls, {})

    def test_a_reset_is_an_error(self) -> None:
        call = self.call()
        self.server.h2.reset_stream(1, ErrorCodes.ENHANCE_YOUR_CALM)
        self.server.flush()
        self.assertEqual(
            self.refused(call), (Status.RESOURCE_EXHAUSTED, "the server reset the stream: ENHANCE_YOUR_CALM")
        )

    def test_a_reset_behind_a_whole_answer_is_none(self) -> None:
        call = self.call()
        self.answer(1, HEAD, framed(b"hi"), OK)
        self.assertEqual(self.successResultOf(call), message(b"hi"))

    def test_a_deadline_resets_the_stream(self) -> None:
        call = self.call(timeout=2)
        self.clock.advance(2)
        self.assertEqual(self.refused(call), (Status.DEADLINE_EXCEEDED, "no answer within 2 s"))
        self.server.flush()
        self.assertEqual([event.error_code for event in self.server.of(StreamReset)], [ErrorCodes.CANCEL])

    def test_cancelling_resets_the_stream(self) -> None:
        call = self.call()
        call.cancel()
        self.failureResultOf(call, CancelledError)
        self.server.flush()
        self.assertEqual([event.error_code for event in self.server.of(StreamReset)], [ErrorCodes.CANCEL])

    def test_what_comes_after_a_call_was_given_up_does_not_use_up_the_window(self) -> None:
        call = self.call()
        self.answer(1, HEAD, framed(b"x" * 16_000)[:-1], b"")
        self.failureResultOf(call, RpcError)
        for _ in range(30):
            stream = self.client.stream(REPEAT, message(), lambda _: None)
            self.server.flush()
            stream_id = self.server.of(RequestReceived)[-1].stream_id
            self.server.h2.send_headers(stream_id, HEAD)
            self.server.h2.send_data(stream_id, framed(b"x" * 16_000))
            self.server.h2.send_data(stream_id, framed(b"x" * 16_000))
            stream.cancel()  # both are on their way
            self.failureResultOf(stream, CancelledError)
            self.server.flush()
        self.assertGreater(self.server.h2.outbound_flow_control_window, WINDOW / 2)


class Turns(ClientCase):
    def test_calls_before_the_connection_are_sent_when_it_is_there(self) -> None:
        client = RpcClient(self.clock, authority="peer")
        call = client.call(ECHO, message(), 10)
        server = Peer(client, self.clock, client=False)
        self.assertEqual(len(server.of(RequestReceived)), 1)
        server.lose()
        self.failureResultOf(call, RpcError)

    def test_one_call_goes_before_the_server_has_said_how_many_it_takes(self) -> None:
        client = RpcClient(self.clock, authority="peer")
        server = Peer(client, self.clock, client=False, greet=False)
        calls = [client.call(ECHO, message(), 10) for _ in range(5)]
        server.flush()
        self.assertEqual(len(server.of(RequestReceived)), 1)
        server.h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 3})
        server.flush()
        self.assertEqual(len(server.of(RequestReceived)), 3)
        server.lose()
        for call in calls:
            self.failureResultOf(call, RpcError)

    def test_a_call_that_waits_can_end_without_having_been_sent(self) -> None:
        self.server.h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 1})
        self.server.flush()
        first, second, third, fourth = self.call(10), self.call(10), self.call(5), self.call(10)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.clock.advance(5)
        self.assertEqual(self.refused(third)[0], Status.DEADLINE_EXCEEDED)
        self.answer(1, HEAD, framed(), OK)
        self.successResultOf(first)
        requests = self.server.of(RequestReceived)
        self.assertEqual([dict(each.headers)["grpc-timeout"] for each in requests], ["10000000u", "5000000u"])
        self.answer(3, HEAD, framed(b"4"), OK)
        self.assertEqual(self.successResultOf(fourth), message(b"4"))

    def test_the_queue_is_bounded(self) -> None:
        self.server.h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 0})
        self.server.flush()
        calls = [self.client.call(ECHO, message(), 10) for _ in range(MAX_QUEUE + 1)]
        self.assertEqual(self.refused(calls.pop()), (Status.RESOURCE_EXHAUSTED, f"{MAX_QUEUE} calls wait already"))
        self.client.close()
        for call in calls:
            self.assertEqual(self.refused(call), (Status.CANCELLED, "the client was closed"))


class Endings(ClientCase):
    def test_a_lost_connection_fails_all_with_the_cause(self) -> None:
        call, other = self.call(), self.call()
        self.server.transport.aborted = True
        self.server.lose()
        for each in (call, other, self.client.call(ECHO, message(), 10)):
            error = self.failureResultOf(each, RpcError).value
            self.assertEqual(error.status, Status.UNAVAILABLE)
            self.assertIn("the connection was lost: ", error.message)
            self.assertIn("abort", str(error.__cause__))

    def test_a_server_that_breaks_http2_is_told_and_left(self) -> None:
        call = self.call()
        self.client.dataReceived(b"\0\0\0\0\0\0\0\0\1" * 3)  # DATA before the head
        self.assertTrue(self.server.transport.disconnecting)
        self.server.lose()
        status, text = self.refused(call)
        self.assertEqual(status, Status.UNAVAILABLE)
        self.assertIn("the peer broke HTTP/2", text)

    def test_a_frame_past_the_bound_is_an_end(self) -> None:
        call = self.call()
        self.client.dataReceived(b"\x10\0\0\0\0\0\0\0\1")
        self.server.lose()
        self.assertIn("a frame or head of 1048576 bytes, at most 16384", self.refused(call)[1])

    def test_calls_behind_the_end_fail_with_its_cause(self) -> None:
        running = self.call()
        self.client.dataReceived(b"\x00\x00\x01\x00\x00\x00\x00\x00\x00x")
        self.assertTrue(self.client.over)
        late, short = self.call(), self.call(timeout=1)
        self.clock.advance(1)
        self.assertEqual(self.refused(short)[0], Status.DEADLINE_EXCEEDED)
        self.server.lose()
        for call in (running, late):
            self.assertIn("the peer broke HTTP/2", self.refused(call)[1])

    def test_after_a_goaway_what_the_server_took_goes_on(self) -> None:
        taken, untaken = self.call(), self.call()
        self.client.dataReceived(encode_goaway(1, 2))
        self.assertEqual(self.refused(untaken), (Status.UNAVAILABLE, "the server is going away (code 2)"))
        self.assertEqual(self.refused(self.client.call(ECHO, message(), 10))[0], Status.UNAVAILABLE)
        self.assertNoResult(taken)
        self.answer(1, HEAD, framed(b"last"), OK)
        self.assertEqual(self.successResultOf(taken), message(b"last"))
        self.assertTrue(self.server.transport.disconnecting)

    def test_closing_says_so_and_closes(self) -> None:
        call = self.call()
        self.client.close()
        self.client.close()
        self.assertEqual(self.refused(call), (Status.CANCELLED, "the client was closed"))
        self.server.flush()
        self.assertEqual([each.error_code for each in self.server.of(ConnectionTerminated)], [ErrorCodes.NO_ERROR])
        self.assertTrue(self.server.transport.disconnecting)

    def test_a_client_closed_before_it_was_connected_closes_then(self) -> None:
        client = RpcClient(self.clock, authority="peer")
        client.close()
        transport = MemoryTransport()
        client.makeConnection(transport)  # type: ignore[arg-type]
        self.assertTrue(transport.disconnecting)
        self.assertEqual(self.refused(client.call(ECHO, message(), 1))[0], Status.CANCELLED)


class Streams(ClientCase):
    def stream(self, consume: Any) -> Deferred[None]:
        stream = self.client.stream(REPEAT, message(), consume)
        self.server.flush()
        return stream

    def test_a_consumer_is_waited_for(self) -> None:
        got: list[bytes] = []
        waiters: list[Deferred[None]] = []

        def consume(each: BytesValue) -> Deferred[None]:
            got.append(each.value)
            waiters.append(Deferred())
            return waiters[-1]

        stream = self.stream(consume)
        self.answer(1, HEAD, framed(b"1") + framed(b"2"), OK)
        self.assertEqual(got, [b"1"])
        waiters[0].callback(None)
        self.assertEqual(got, [b"1", b"2"])
        self.assertNoResult(stream)
        waiters[1].callback(None)
        self.successResultOf(stream)

    def test_what_is_not_consumed_is_not_acknowledged(self) -> None:
        going: Deferred[None] = Deferred()
        stream = self.stream(lambda _: going if not going.called else None)
        self.server.h2.send_headers(1, HEAD)
        sent = 0
        while (window := self.server.h2.local_flow_control_window(1)) > 20_000:
            self.server.h2.send_data(1, framed(b"x" * 10_000))
            sent += 1
            self.server.flush()
            self.assertLess(sent, 10, window)
        self.assertEqual(sent, 5)
        going.callback(None)
        self.server.flush()
        self.assertGreater(self.server.h2.local_flow_control_window(1), 60_000)
        stream.cancel()
        self.failureResultOf(stream, CancelledError)

    def test_a_consumer_that_fails_ends_the_call(self) -> None:
        def fail_later(_: BytesValue) -> Deferred[None]:
            later: Deferred[None] = Deferred()
            later.errback(ZeroDivisionError())
            return later

        def fail_now(_: BytesValue) -> None:
            raise ZeroDivisionError

        for consume in (fail_later, fail_now):
            stream = self.stream(consume)
            stream_id = self.server.of(RequestReceived)[-1].stream_id
            self.server.h2.send_headers(stream_id, HEAD)
            self.server.h2.send_data(stream_id, framed())
            self.server.flush()
            self.failureResultOf(stream, ZeroDivisionError)
            self.assertEqual([each.error_code for each in self.server.of(StreamReset, stream_id)], [ErrorCodes.CANCEL])

    def test_a_consumer_that_fails_gets_nothing_more(self) -> None:
        going: Deferred[None] = Deferred()
        got: list[bytes] = []

        def consume(each: BytesValue) -> Deferred[None]:
            got.append(each.value)
            return going

        stream = self.stream(consume)
        self.answer(1, HEAD, framed(b"1") + framed(b"2"), OK)
        going.errback(ZeroDivisionError())
        self.failureResultOf(stream, ZeroDivisionError)
        self.assertEqual(got, [b"1"])

    def test_what_is_left_when_a_call_is_given_up_does_not_use_up_the_window(self) -> None:
        for number in range(30):
            going: Deferred[None] = Deferred()
            stream = self.stream(lambda _, going=going: going)
            stream_id = self.server.of(RequestReceived)[-1].stream_id
            self.server.h2.send_headers(stream_id, HEAD)
            self.server.h2.send_data(stream_id, framed(b"x" * 16_000))
            self.server.h2.send_data(stream_id, framed(b"x" * 16_000))
            self.server.flush()
            stream.cancel()
            self.failureResultOf(stream, CancelledError)
            if number % 2:  # nobody waits for it any more
                going.callback(None)
            else:
                going.errback(ZeroDivisionError())
            self.server.flush()
        self.assertGreater(self.server.h2.outbound_flow_control_window, WINDOW / 2)

    def test_what_is_not_grpc_ends_before_it_is_whole(self) -> None:
        stream = self.stream(lambda _: None)
        self.server.h2.send_headers(1, [(":status", "502")])
        self.server.h2.send_data(1, b"page")
        self.server.flush()
        self.assertEqual(self.refused(stream), (Status.UNAVAILABLE, "the server answered with HTTP status 502"))

    def test_a_message_longer_than_the_window_comes_whole(self) -> None:
        got: list[int] = []
        stream = self.stream(lambda each: got.append(len(each.value)))
        self.server.h2.send_headers(1, HEAD)
        data = framed(b"x" * 99_000)
        while data:
            size = min(len(data), self.server.h2.local_flow_control_window(1), 16_384)
            self.assertGreater(size, 0)
            self.server.h2.send_data(1, data[:size])
            data = data[size:]
            self.server.flush()
        self.answer(1, OK)
        self.successResultOf(stream)
        self.assertEqual(got, [99_000])


class Garbage(SynchronousTestCase):
    @examples(250)
    @given(
        st.lists(
            st.tuples(st.integers(0, 10), st.integers(0, 255), st.integers(0, 9), st.binary(max_size=40)), max_size=8
        )
    )
    def test_random_frames_never_raise(self, frames: list[tuple[int, int, int, bytes]]) -> None:
        clock = Clock()
        client = RpcClient(clock, authority="peer")
        server = Peer(client, clock, client=False)
        calls = [client.call(ECHO, message(), 10), client.stream(REPEAT, message(), lambda _: None)]
        for kind, flags, stream_id, payload in frames:
            header = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big")
            client.dataReceived(header + payload)
        server.lose()
        for call in calls:
            self.failureResultOf(call, RpcError)
