"""What clients are answered that do not speak gRPC."""

from __future__ import annotations

from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamReset
from h2.settings import SettingCodes
from hyperframe.frame import HeadersFrame

from tests.rpc.memory import Caller
from tests.rpc.server_case import ServerCase

TEXT = b"This port speaks gRPC only.\n"
ABOUT = [("content-type", "text/plain"), ("content-length", str(len(TEXT)))]


class PlainAnswers(ServerCase):
    def slow_caller(self) -> Caller:
        """Return a client that takes no byte of an answer before it says so."""
        caller = self.caller()
        caller.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        caller.flush()
        return caller

    def resets(self, caller: Caller) -> list[tuple[int | None, ErrorCodes | int]]:
        return [(event.stream_id, event.error_code) for event in caller.of(StreamReset) if event.error_code is not None]

    def text(self, caller: Caller) -> bytes:
        return b"".join(event.data for event in caller.of(DataReceived))

    def test_a_status_and_a_line_of_text(self) -> None:
        for changed, head in [
            ({"method": "GET"}, [(":status", "405"), ("allow", "POST"), *ABOUT]),
            ({"content_type": "application/json"}, [(":status", "415"), ("accept", "application/grpc"), *ABOUT]),
        ]:
            caller = self.caller()
            caller.open(end=True, **changed)
            caller.flush()
            self.assertEqual([event.headers for event in caller.of(ResponseReceived)], [head])
            self.assertEqual(self.text(caller), TEXT)
            self.assertEqual(self.resets(caller), [])
            caller.lose()

    def test_no_text_to_head(self) -> None:
        caller = self.caller()
        caller.open(end=True, method="HEAD")
        caller.flush()
        self.assertIsNotNone(caller.of(ResponseReceived)[0].stream_ended)
        self.assertEqual(caller.of(DataReceived), [])
        caller.lose()

    def test_a_client_may_end_its_request_behind_the_answer(self) -> None:
        caller = self.caller()
        stream_id = caller.open(method="PUT")
        caller.flush()
        self.assertEqual(self.text(caller), TEXT)
        caller.h2.send_data(stream_id, bytes(100), end_stream=True)
        caller.flush()
        self.clock.advance(20)
        caller.flush()
        self.assertEqual(self.resets(caller), [])
        caller.lose()

    def test_a_client_is_asked_not_to_send_its_request_to_the_end(self) -> None:
        caller = self.caller()
        stream_id = caller.open(method="PUT")
        caller.flush()
        self.assertEqual(self.resets(caller), [])
        self.clock.advance(20)
        caller.flush()
        self.assertEqual(self.resets(caller), [(stream_id, ErrorCodes.NO_ERROR)])
        caller.lose()

    def test_what_is_wrong_behind_the_answer_ends_the_connection(self) -> None:
        caller = self.caller()
        stream_id = caller.open(method="PUT")
        caller.flush()
        self.assertEqual(self.text(caller), TEXT)
        more = HeadersFrame(stream_id, b"\x82", flags=["END_HEADERS"])  # without END_STREAM (RFC 9113, section 8.1)
        caller.send(more.serialize())
        caller.flush()
        self.assertEqual([event.error_code for event in caller.of(ConnectionTerminated)], [ErrorCodes.PROTOCOL_ERROR])
        caller.lose()

    def test_the_text_waits_for_flow_control(self) -> None:
        caller = self.slow_caller()
        stream_id = caller.open(end=True, method="GET")
        caller.flush()
        self.assertEqual(caller.of(DataReceived), [])
        caller.h2.increment_flow_control_window(100, stream_id)
        caller.flush()
        self.assertEqual(self.text(caller), TEXT)
        caller.lose()

    def test_who_does_not_take_it_is_given_up(self) -> None:
        caller = self.slow_caller()
        stream_id = caller.open(end=True, method="GET")
        caller.flush()
        self.clock.advance(20)
        caller.flush()
        self.assertEqual(self.resets(caller), [(stream_id, ErrorCodes.CANCEL)])
        caller.lose()

    def test_those_that_wait_count_among_the_streams(self) -> None:
        caller = self.slow_caller()
        streams = [caller.open(end=True, method="GET") for _ in range(100)]
        caller.flush()
        self.assertEqual(self.resets(caller), [])
        refused = 2 * len(streams) + 1
        caller.h2.remote_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = 200
        caller.h2.remote_settings.acknowledge()
        self.assertEqual(caller.open(end=True, method="GET"), refused)
        caller.flush()
        self.assertEqual(self.resets(caller), [(refused, ErrorCodes.REFUSED_STREAM)])
        caller.lose()

    def test_what_else_the_client_sends_is_dropped(self) -> None:
        caller = self.slow_caller()
        stream_id = caller.open(method="PUT")
        caller.h2.send_data(stream_id, bytes(100), end_stream=True)
        caller.flush()
        self.assertFalse(caller.gone)
        caller.h2.increment_flow_control_window(100, stream_id)
        caller.flush()
        self.assertEqual(self.text(caller), TEXT)
        caller.lose()
