"""What a parser does in one call is bounded: hostile reads are given up, the fullest honest ones are not."""

from __future__ import annotations

from hpack import Encoder
from twisted.trial.unittest import SynchronousTestCase

from meshtx.wire.http1 import Http1Observer
from meshtx.wire.http2 import Http2Observer
from meshtx.wire.http2_frames import END_STREAM, Kind
from meshtx.wire.http_events import Event, TooCostly
from meshtx.wire.work import MAX_WORK
from tests.wire.http2_corpus import BEGIN, GET, OK, data, frame, headers, plain, reset

READ = 240 * 1024
"""Bytes that a proxy reads at once."""
COSTLY = [TooCostly("too much work for one read")]
POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
PING = 6


def full(part: bytes) -> bytes:
    """Return a read full of this."""
    return part * (READ // len(part))


class Http2Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.observer = Http2Observer()
        for side, raw in BEGIN:
            self.say(side, raw)
        self.say("C", headers(1, GET))

    def say(self, side: str, raw: bytes) -> list[Event]:
        return self.observer.client_data(raw) if side == "C" else self.observer.server_data(raw)


class HostileTests(Http2Case):
    def costs_too_much(self, side: str, raw: bytes) -> None:
        self.assertEqual(self.say(side, raw)[-1:], COSTLY)
        self.assertTrue(self.observer.detached)
        self.assertEqual(self.say(side, raw), [])

    def test_frames_without_content(self) -> None:
        self.costs_too_much("C", full(data(1, b"")))

    def test_frames_without_content_of_the_server(self) -> None:
        self.costs_too_much("S", full(data(1, b"")))

    def test_frames_that_mean_nothing_here(self) -> None:
        self.costs_too_much("C", full(frame(PING, 0, 0, bytes(8))))

    def test_resets(self) -> None:
        self.costs_too_much("C", full(reset(1, 8)))

    def test_rapid_resets(self) -> None:
        self.costs_too_much("C", b"".join(headers(n, GET) + reset(n, 8) for n in range(3, 20_000, 2)))

    def test_header_blocks_that_unfold(self) -> None:
        self.costs_too_much("C", full(headers(1, b"\x83" * 250)))

    def test_header_blocks_in_huffmans_code(self) -> None:
        value = b"\x1f" * 16_000  # five bits for each "a"
        self.costs_too_much("C", full(headers(1, b"\0\x01a\xff\x81\x7c" + value)))

    def test_announcements_of_an_end_with_many_open_streams(self) -> None:
        for stream in range(3, 2001, 2):
            self.say("C", headers(stream, GET))
        self.costs_too_much("S", frame(Kind.GOAWAY, 0, 0, b"\x7f\xff\xff\xff\0\0\0\0") * (MAX_WORK // 60))


class HonestTests(Http2Case):
    def test_a_read_full_of_the_smallest_grpc_messages_is_followed(self) -> None:
        for side in "CS":
            self.say(side, full(data(1, b"\0\0\0\0\x0a" + bytes(10))))
        self.assertFalse(self.observer.detached)

    def test_six_hundred_requests_in_one_read_are_followed(self) -> None:
        block = GET + plain(*((f"a-field-{n}", "with-a-value") for n in range(4)))
        streams = range(3, 1203, 2)
        self.assertEqual(len(self.say("C", b"".join(headers(n, block, END_STREAM) for n in streams))), 600)
        answers = b"".join(headers(n, OK) + data(n, b"ab") + headers(n, OK, END_STREAM) for n in streams)
        self.assertEqual(len(self.say("S", answers)), 1200)
        self.assertFalse(self.observer.detached)

    def test_four_hundred_requests_in_huffmans_code_are_followed(self) -> None:
        fields = [(f"a-field-{n}", "with-a-value", True) for n in range(4)]
        block = GET + Encoder().encode(fields)
        self.assertEqual(len(self.say("C", b"".join(headers(n, block) for n in range(3, 803, 2)))), 400)

    def test_every_read_begins_anew(self) -> None:
        for _ in range(10):
            self.say("C", data(1, b"") * (MAX_WORK - 1))
        self.assertFalse(self.observer.detached)


class Http1Tests(SynchronousTestCase):
    def setUp(self) -> None:
        self.observer = Http1Observer()

    def test_chunks_of_one_byte(self) -> None:
        self.observer.client_data(POST)
        self.assertEqual(self.observer.client_data(full(b"1\r\na\r\n")), COSTLY)

    def test_bodies_of_such_chunks(self) -> None:
        part = POST + b"1\r\na\r\n" * 500 + b"0\r\n\r\n"
        self.assertEqual(self.observer.client_data(full(part))[-1:], COSTLY)

    def test_empty_lines(self) -> None:
        self.assertEqual(self.observer.client_data(full(b"\r\n\r\n")), COSTLY)

    def test_interim_answers(self) -> None:
        self.observer.client_data(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        answers = full(b"HTTP/1.1 100 \r\n\r\nHTTP/1.1 102 \r\n\r\n")
        self.assertEqual(self.observer.server_data(answers), COSTLY)

    def test_a_thousand_requests_in_one_read_are_followed(self) -> None:
        requests = b"".join(b"GET /%d HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\n\r\n" % n for n in range(1000))
        self.assertEqual(len(self.observer.client_data(requests)), 1000)
        answers = b"".join(b"HTTP/1.1 200 OK\r\nX-Number: %d\r\nContent-Length: 0\r\n\r\n" % n for n in range(1000))
        self.assertEqual(len(self.observer.server_data(answers)), 2000)
        self.assertFalse(self.observer.detached)

    def test_chunks_of_a_kilobyte_are_followed(self) -> None:
        self.observer.client_data(POST)
        self.assertEqual(self.observer.client_data(full(b"400\r\n" + bytes(1024) + b"\r\n")), [])
        self.assertFalse(self.observer.detached)
