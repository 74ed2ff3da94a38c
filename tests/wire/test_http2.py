"""Tests for `meshtx.wire.http2` and what it is made of."""

from __future__ import annotations

from hpack import Encoder
from twisted.trial.unittest import SynchronousTestCase

from meshtx.wire.http2 import MAX_STREAMS, Http2Observer
from meshtx.wire.http2_frames import END_HEADERS, END_STREAM, PADDED, Kind
from meshtx.wire.http2_headers import MAX_CONTINUATIONS, MAX_TABLE, MAX_UNACKNOWLEDGED
from meshtx.wire.http_events import MAX_HEAD, GaveUp, ResponseEnd, ResponseHead
from tests.wire.exchanges import Said, observe, request_head
from tests.wire.http2_corpus import (
    BEGIN,
    CORPUS,
    GET,
    HELLO,
    OK,
    SETTINGS,
    SETTINGS_ACK,
    asked,
    data,
    frame,
    headers,
    plain,
    reset,
    setting,
)

HEADER_TABLE_SIZE = 1


def begun(*said: Said) -> Http2Observer:
    """Return an observer that has seen the beginning of a connection, and this."""
    observer = Http2Observer()
    for side, raw in [*BEGIN, *said]:
        if side == "C":
            observer.client_data(raw)
        else:
            observer.server_data(raw)
    return observer


class CorpusTests(SynchronousTestCase):
    def test_the_corpus_is_reported_as_it_should_be(self) -> None:
        for name, (exchange, events) in CORPUS.items():
            self.assertEqual(observe(Http2Observer(), exchange), events, name)


class RequestTests(SynchronousTestCase):
    def test_of_the_fields_only_harmless_ones_are_kept(self) -> None:
        block = plain(
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "user:s3cret@emoji:8080"),
            (":path", "/S/M?token=s3cret"),
            ("authorization", "s3cret"),
            ("cookie", "s3cret"),
            ("content-type", "application/grpc"),
            ("user-agent", "x"),
        )
        kept = (("content-type", "application/grpc"), ("user-agent", "x"))
        self.assertEqual(begun().client_data(headers(1, block)), [request_head(0, "POST", "emoji:8080", "/S/M", kept)])

    def test_host_stands_in_for_a_missing_authority(self) -> None:
        self.assertEqual(begun().client_data(headers(1, GET + plain(("host", "web")))), [asked(authority="web")])

    def test_a_request_without_its_pseudo_fields_is_seen_nevertheless(self) -> None:
        self.assertEqual(begun().client_data(headers(1, plain(("a", "b")))), [request_head(0, "", "", "")])

    def test_a_stream_that_is_over_is_not_a_new_request(self) -> None:
        observer = begun(("C", headers(5, GET)), ("S", headers(5, OK, END_STREAM)))
        self.assertEqual(observer.client_data(headers(5, GET) + headers(3, GET) + headers(7, GET)), [asked(1)])

    def test_open_streams_are_counted(self) -> None:
        observer = begun()
        for n in range(MAX_STREAMS):
            observer.client_data(headers(2 * n + 1, GET))
        observer.server_data(headers(1, OK, END_STREAM))
        more = headers(2 * MAX_STREAMS + 1, GET) + headers(2 * MAX_STREAMS + 3, GET)
        self.assertEqual(observer.client_data(more), [asked(MAX_STREAMS), GaveUp("too many unanswered requests")])
        self.assertEqual(observer.ended(True), [])

    def test_what_a_client_must_not_send_is_given_up(self) -> None:
        for reason, raw in (
            ("a client opened a stream of the server's", headers(2, GET)),
            ("a client promised a push", frame(Kind.PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2" + GET)),
            ("a client promised a push", frame(Kind.PUSH_PROMISE, 0, 1)),
            ("a header block on stream 0", headers(0, GET)),
            ("a frame is too short for its flags", headers(1, b"", PADDED)),
            ("a frame is too short for its flags", headers(1, b"\x09abc", PADDED)),
            ("a frame is too short for its flags", headers(1, b"abcd", 0x20)),
            ("CONTINUATION of no header block", frame(Kind.CONTINUATION, END_HEADERS, 1, GET)),
            ("CONTINUATION of no header block", frame(Kind.HEADERS, 0, 1) + frame(Kind.CONTINUATION, END_HEADERS, 3)),
            ("a header block is interrupted", frame(Kind.HEADERS, 0, 1) + headers(3, GET)),
            ("a header block is interrupted", frame(Kind.HEADERS, 0, 1) + SETTINGS),
            ("malformed SETTINGS", frame(Kind.SETTINGS, payload=b"12345")),
            ("malformed SETTINGS", frame(Kind.SETTINGS, stream=1)),
            ("malformed RST_STREAM", frame(Kind.RST_STREAM, 0, 1, b"123")),
            ("DATA on stream 0", data(0, b"x")),
            ("a padded frame without its pad length", data(1, b"", PADDED)),
            ("more padding than payload", data(1, b"\x03ab", PADDED)),
            ("a frame is too long", frame(Kind.HEADERS, 0, 1, b"x" * (MAX_HEAD + 1))),
        ):
            self.assertEqual(begun().client_data(raw), [GaveUp(reason)], raw[:40])

    def test_the_preface_must_be_the_preface(self) -> None:
        self.assertEqual(Http2Observer().client_data(b"PRI * HTTP/1.1"), [GaveUp("no HTTP/2 preface")])
        self.assertEqual(
            Http2Observer().client_data(HELLO[:24] + headers(1, GET)), [GaveUp("the first frame is not SETTINGS")]
        )
        self.assertEqual(Http2Observer().server_data(SETTINGS_ACK), [GaveUp("the first frame is not SETTINGS")])

    def test_nothing_is_said_after_giving_up(self) -> None:
        observer = begun(("C", headers(1, GET) + headers(2, GET)))
        self.assertTrue(observer.detached)
        said = [*observer.client_data(headers(3, GET)), *observer.server_data(headers(1, OK)), *observer.ended(False)]
        self.assertEqual(said, [])


class AnswerTests(SynchronousTestCase):
    def of_server(self, raw: bytes) -> list[object]:
        return [*begun(("C", headers(1, GET))).server_data(raw)]

    def test_what_a_server_must_not_send_is_given_up(self) -> None:
        for reason, raw in (
            ("an answer without a status", headers(1, plain(("a", "b")))),
            ("an answer without a status", headers(1, plain((":status", "20x")))),
            ("an answer without a status", headers(1, plain((":status", "2000")))),
            ("malformed GOAWAY", frame(Kind.GOAWAY, payload=b"1234567")),
            ("malformed header block", headers(1, b"\xbf")),
        ):
            self.assertEqual(self.of_server(raw), [GaveUp(reason)], raw)

    def test_answers_to_nobody_are_not_reported(self) -> None:
        self.assertEqual(self.of_server(headers(9, OK) + data(9, b"x", END_STREAM) + reset(9, 1)), [])

    def test_a_status_of_grpc_that_is_no_number_is_none(self) -> None:
        for value in ("", "x", "-1", "1234"):
            block = plain((":status", "200"), ("grpc-status", value))
            self.assertEqual(
                self.of_server(headers(1, block, END_STREAM)), [ResponseHead(0, 200), ResponseEnd(0, 0)], value
            )

    def test_an_interim_answer_that_ends_the_stream_is_the_answer(self) -> None:
        block = plain((":status", "103"))
        self.assertEqual(self.of_server(headers(1, block, END_STREAM)), [ResponseHead(0, 103), ResponseEnd(0, 0)])

    def test_a_body_is_counted_and_not_kept(self) -> None:
        observer = begun(("C", headers(1, GET)), ("S", headers(1, OK)))
        idle = observer.held
        for _ in range(100):
            observer.server_data(data(1, b"x" * 16384)[:-1])
            self.assertEqual(observer.held, idle)
            observer.server_data(b"x")
        self.assertEqual(observer.ended(True), [ResponseEnd(0, 100 * 16384, reset=-1)])

    def test_padding_is_not_content(self) -> None:
        events = self.of_server(
            headers(1, OK) + data(1, b"\x05ab" + b"p" * 5, PADDED) + data(1, b"\0c", PADDED | END_STREAM)
        )
        self.assertEqual(events, [ResponseHead(0, 200), ResponseEnd(0, 3)])


class BlockTests(SynchronousTestCase):
    def test_a_block_may_fill_its_bound_and_no_more(self) -> None:
        begin = plain((":method", "GET")) + Encoder().encode([("a", "\x16" * 17_000)])  # 30 bits each, by Huffman
        filled = MAX_HEAD - len(begin) - len(plain(("b", "x" * 1000))) + 1000
        for spare, events in ((0, [request_head(0, "GET", "", "")]), (1, [GaveUp("a header block is too long")])):
            block = begin + plain(("b", "x" * (filled + spare)))
            raw = frame(Kind.HEADERS, 0, 1, block[:9]) + frame(Kind.CONTINUATION, END_HEADERS, 1, block[9:])
            self.assertEqual(begun().client_data(raw), events)

    def test_a_flood_of_empty_continuations_is_given_up(self) -> None:
        empty = frame(Kind.CONTINUATION, 0, 1)
        flood = frame(Kind.HEADERS, 0, 1, GET) + empty * MAX_CONTINUATIONS
        self.assertEqual(begun().client_data(flood), [])
        self.assertEqual(begun().client_data(flood + empty), [GaveUp("a header block is too long")])

    def test_a_small_block_that_unfolds_to_much_is_given_up(self) -> None:
        encoder = Encoder()
        first = encoder.encode([(":method", "GET"), ("a", "x" * 4000)])
        bomb = encoder.encode([("a", "x" * 4000)]) * 100
        self.assertLess(len(bomb), 1000)
        self.assertEqual(
            begun().client_data(headers(1, first) + headers(3, bomb)),
            [request_head(0, "GET", "", ""), GaveUp("malformed header block")],
        )

    def test_blocks_of_streams_that_are_over_still_fill_the_table(self) -> None:
        encoder = Encoder()
        trailers = encoder.encode([("x-a", "1")])
        request = encoder.encode([(":method", "GET"), (":path", "/a"), ("x-a", "1")])
        observer = begun(("C", headers(1, GET)))
        self.assertEqual(observer.client_data(headers(1, trailers) + headers(3, request)), [asked(1)])

    def test_a_remembered_block_is_forgotten_when_the_table_changes(self) -> None:
        encoder = Encoder()

        def ask(stream: int, path: str) -> bytes:
            return headers(stream, encoder.encode([(":path", path)]))

        self.assertEqual(
            [
                event.read().path
                for event in begun().client_data(
                    ask(1, "/one") + ask(3, "/one") + ask(5, "/one") + ask(7, "/two") + ask(9, "/two") + ask(11, "/one")
                )
            ],
            ["/one", "/one", "/one", "/two", "/two", "/one"],
        )

    def test_a_block_that_changes_the_table_does_so_each_time(self) -> None:
        adds, second_entry = b"\x40\x01a\x01b", b"\xbf"
        events = begun().client_data(headers(1, adds) + headers(3, adds) + headers(5, second_entry))
        self.assertEqual(events, [request_head(index, "", "", "") for index in range(3)])

    def test_many_remembered_blocks_are_bounded(self) -> None:
        observer = begun()
        for number in range(40):
            observer.client_data(headers(2 * number + 1, bytes([0x82 + number // 13, 0x82 + number % 13])))
            self.assertLessEqual(len(observer._requests._known), 16)
        observer.client_data(headers(101, b"\x82" * 33))
        self.assertNotIn(b"\x82" * 33, observer._requests._known)


class TableTests(SynchronousTestCase):
    """SETTINGS_HEADER_TABLE_SIZE of one side bounds the table that the other side's encoder uses."""

    def sizes(self, *settings: bytes, ack: bool = True) -> Http2Observer:
        observer = begun(("C", headers(1, GET)), ("S", SETTINGS_ACK))
        for payload in settings:
            observer.client_data(frame(Kind.SETTINGS, payload=payload))
            if ack:
                observer.server_data(SETTINGS_ACK)
        return observer

    def update(self, size: int) -> bytes:
        encoder = Encoder()
        encoder.header_table_size = size
        return encoder.encode([(":status", "200")])

    def test_a_larger_table_may_be_used_at_once(self) -> None:
        for ack in (True, False):
            observer = self.sizes(setting(HEADER_TABLE_SIZE, 8192), ack=ack)
            self.assertEqual(observer.server_data(headers(1, self.update(8192))), [ResponseHead(0, 200)])

    def test_a_larger_table_than_allowed_is_given_up(self) -> None:
        for observer in (self.sizes(), self.sizes(setting(3, 8192)), self.sizes(setting(HEADER_TABLE_SIZE, 8191))):
            self.assertEqual(observer.server_data(headers(1, self.update(8192))), [GaveUp("malformed header block")])

    def test_the_table_is_never_larger_than_our_bound(self) -> None:
        allowed = setting(HEADER_TABLE_SIZE, 2**32 - 1)
        self.assertEqual(self.sizes(allowed).server_data(headers(1, self.update(MAX_TABLE))), [ResponseHead(0, 200)])
        self.assertEqual(
            self.sizes(allowed).server_data(headers(1, self.update(MAX_TABLE + 1))),
            [GaveUp("malformed header block")],
        )

    def test_a_smaller_table_is_due_from_the_acknowledgement_on(self) -> None:
        smaller = setting(HEADER_TABLE_SIZE, 0)
        self.assertEqual(self.sizes(smaller, ack=False).server_data(headers(1, OK)), [ResponseHead(0, 200)])
        self.assertEqual(self.sizes(smaller).server_data(headers(1, OK)), [GaveUp("malformed header block")])
        self.assertEqual(self.sizes(smaller).server_data(headers(1, self.update(0))), [ResponseHead(0, 200)])

    def test_acknowledgements_are_matched_in_order(self) -> None:
        observer = self.sizes(setting(HEADER_TABLE_SIZE, 8192), b"", setting(HEADER_TABLE_SIZE, 100), ack=False)
        observer.server_data(SETTINGS_ACK * 3)
        self.assertEqual(observer.server_data(headers(1, self.update(8192))), [GaveUp("malformed header block")])

    def test_settings_without_acknowledgement_are_counted(self) -> None:
        observer = begun()  # whose own SETTINGS were not acknowledged
        self.assertEqual(observer.client_data(SETTINGS * (MAX_UNACKNOWLEDGED - 1)), [])
        self.assertEqual(observer.client_data(SETTINGS), [GaveUp("too many SETTINGS without an acknowledgement")])

    def test_an_acknowledgement_of_nothing_changes_nothing(self) -> None:
        observer = begun(("S", SETTINGS_ACK * 5), ("C", headers(1, GET)))
        self.assertEqual(observer.server_data(headers(1, OK)), [ResponseHead(0, 200)])
