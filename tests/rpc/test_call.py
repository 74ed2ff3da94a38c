"""One call at the server: its times and its stream of messages."""

from __future__ import annotations

from typing import Any

from google.protobuf.wrappers_pb2 import BytesValue
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    StreamReset,
)
from twisted.internet.defer import CancelledError, Deferred

from meshtx.rpc.call import MAX_WAITING, Call
from meshtx.rpc.framing import MAX_MESSAGE, MessageParser, encode_message
from meshtx.rpc.server import PREFACE_TIMEOUT, RpcServer
from meshtx.rpc.status import RpcError, Status
from meshtx.wire.sniff import PREFACE
from tests.rpc.memory import Caller
from tests.rpc.server_case import ServerCase
from tests.rpc.support import REPEAT, message


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
        self.assertEqual(self.server.budget.left, 64 * 4 * 2**20)
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

    def test_messages_that_are_sent_together_are_one_frame_and_still_messages(self) -> None:
        sent = [message(b"%d" % number) for number in range(20)]

        async def repeat(_request: BytesValue, call: Call) -> None:
            call.send_encoded([each.SerializeToString() for each in sent])

        caller, stream_id = self.stream(repeat)
        (frame,) = caller.of(DataReceived, stream_id)
        messages = MessageParser(MAX_MESSAGE).receive_data(frame.data)
        self.assertEqual([BytesValue.FromString(each) for each in messages if isinstance(each, bytes)], sent)
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
