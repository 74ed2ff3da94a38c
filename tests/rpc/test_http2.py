"""What both sides bound in HTTP/2 itself, seen at the server."""

from __future__ import annotations

from google.protobuf.wrappers_pb2 import BytesValue
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    PingAckReceived,
)
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshtx.rpc.call import Call
from meshtx.rpc.framing import encode_message
from meshtx.rpc.http2 import LINGER, MAX_CONTROL
from meshtx.rpc.server import PREFACE_TIMEOUT, RpcServer
from meshtx.wire.sniff import PREFACE
from tests.effort import examples
from tests.rpc.memory import Caller, MemoryTransport, headers
from tests.rpc.server_case import ServerCase
from tests.rpc.support import ECHO


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big") + payload


def settings_frame(codes: range) -> bytes:
    return frame(4, 0, 0, b"".join(code.to_bytes(2, "big") + bytes(4) for code in codes))


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
            caller.send(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
            caller.transport.written.clear()
            if caller.gone:
                break
        self.assertTrue(caller.transport.disconnecting)
        caller.lose()

    def test_settings_of_no_meaning_are_not_kept(self) -> None:
        caller = self.caller()
        known = len(caller.protocol._h2.remote_settings)
        for first in range(16, 65_000, 64):
            caller.send(settings_frame(range(first, first + 64)))
            self.clock.advance(1)
        self.assertFalse(caller.gone)
        self.assertEqual(len(caller.protocol._h2.remote_settings), known)
        caller.lose()

    def test_settings_with_more_entries_than_there_are(self) -> None:
        caller = self.caller()
        caller.send(settings_frame(range(16, 81)))
        self.assertTrue(self.flooded(caller))
        caller.lose()

    def test_frames_that_h2_says_nothing_of(self) -> None:
        for flood in (
            b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x01",  # a window
            b"\x00\x00\x04\x08\x00\x00\x00\x00\x01\x00\x00\x00\x01",  # that of a stream that has ended
            b"\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x08",  # a reset of it
            b"\x00\x00\x08\x06\x01\x00\x00\x00\x0012345678",  # an acknowledged ping
            b"\x00\x00\x00\x04\x01\x00\x00\x00\x00",  # acknowledged settings
            b"\x00\x00\x02\x0a\x00\x00\x00\x00\x00\x00\x00",  # ALTSVC
        ):
            caller = self.caller()
            caller.call()
            caller.send(flood * 900)
            self.assertFalse(caller.gone)
            caller.send(flood * 200)
            self.assertTrue(self.flooded(caller))
            caller.lose()

    def test_windows_for_what_was_sent_are_no_flood(self) -> None:
        caller = self.caller()
        for _ in range(1100):
            stream_id = caller.call()
            caller.h2.increment_flow_control_window(5)
            caller.send(b"\x00\x00\x04\x08\x00" + stream_id.to_bytes(4, "big") + b"\x00\x00\x00\x05")
        caller.flush()
        self.assertFalse(caller.gone)
        caller.lose()

    def test_streams_that_have_ended_are_forgotten_but_the_last(self) -> None:
        caller = self.caller()
        for _ in range(1100):
            caller.call(b"")
        self.assertFalse(caller.gone)
        self.assertLessEqual(len(caller.protocol._h2._closed_streams), 1000)
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
        caller.lose()
        self.assertEqual(len(self.cancelled), len(self.waiting))

    def test_empty_data_frames(self) -> None:
        caller = self.caller()
        stream_id = caller.open()
        for _ in range(1100):
            caller.h2.send_data(stream_id, b"")
        self.assertTrue(self.flooded(caller))
        caller.lose()

    def test_tiny_data_frames(self) -> None:
        caller = self.caller()
        stream_id = caller.open()
        caller.h2.send_data(stream_id, encode_message(bytes(2000))[:5])
        for _ in range(1100):
            caller.h2.send_data(stream_id, b"a")
        self.assertTrue(self.flooded(caller))
        caller.lose()

    def test_tiny_requests_are_no_flood(self) -> None:
        caller = self.caller()
        for _ in range(1100):
            stream_id = caller.open(path="/test.Echo/Echo", te="trailers", x_token="none")
            caller.h2.send_data(stream_id, encode_message(b""))
            caller.h2.end_stream(stream_id)
            caller.flush()
        self.assertFalse(caller.gone)
        caller.lose()

    def test_data_on_a_stream_that_was_reset(self) -> None:
        caller = self.caller()
        stream_id = caller.open()
        caller.h2.reset_stream(stream_id)
        caller.flush()
        data = b"\x00\x00\x41\x00\x00" + stream_id.to_bytes(4, "big") + bytes(65)
        caller.send(data * 900)
        caller.flush()
        self.assertFalse(caller.gone)
        self.assertGreater(caller.h2.outbound_flow_control_window, 2**15, "the connection's window is opened again")
        caller.send(data * 200)
        self.assertTrue(self.flooded(caller))
        caller.lose()

    def test_continuations(self) -> None:
        caller = self.caller()
        opening = caller.h2.encoder.encode(headers())
        flood = b""
        for stream_id in range(1, 41, 2):
            flood += frame(1, 0, stream_id, opening) + frame(9, 0, stream_id) * 60 + frame(9, 4, stream_id)
            opening = caller.h2.encoder.encode(headers())
        caller.send(flood)
        self.assertTrue(self.flooded(caller))
        caller.lose()

    def test_header_blocks_of_many_fields(self) -> None:
        caller = self.caller(self.hang)
        sent = 0
        while not caller.gone and sent < 1000:
            caller.open(**{f"x-{number}": "" for number in range(300)})
            caller.flush()
            sent += 1
        self.assertTrue(self.flooded(caller))
        self.assertLess(sent, 60)
        caller.lose()

    def test_requests_that_are_refused(self) -> None:
        caller = self.caller()
        sent = 0
        while not caller.gone and sent < 1200:
            caller.open(path="/test.Echo/Unknown")
            caller.flush()
            sent += 1
        self.assertTrue(self.flooded(caller))
        self.assertGreater(sent, 900)
        caller.lose()

    def test_a_header_table_whose_size_changes_again_and_again(self) -> None:
        for count, gone in ((2, False), (3, True)):
            caller = self.caller()
            opening = b"\x3f\xe1\x1f" * count + caller.h2.encoder.encode(headers())
            caller.send(frame(1, 5, 1, opening))
            self.assertIs(caller.gone, gone)
            caller.lose()

    def test_answers_to_a_client_that_does_not_read(self) -> None:
        caller = self.caller()
        caller.protocol.pauseProducing()
        written = 0
        ping = b"\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678"
        for _ in range(100):
            caller.send(ping * 100)
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


class Garbage(SynchronousTestCase):
    @examples(150)
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

    @examples(250)
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
            caller.send(frame(kind, flags, stream_id, payload))
        caller.lose()
