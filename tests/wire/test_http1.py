"""Tests for `meshtx.wire.http1` and what it is made of."""

from __future__ import annotations

import tracemalloc

from twisted.trial.unittest import SynchronousTestCase

from meshtx.wire import http1
from meshtx.wire.http1 import MAX_KNOWN, MAX_UNCLEAR, MAX_WAITING, Http1Observer
from meshtx.wire.http1_body import MAX_LINE, MAX_TRAILER
from meshtx.wire.http1_head import MAX_FIELDS
from meshtx.wire.http_events import MAX_HEAD, MAX_TEXT, GaveUp, ResponseEnd, ResponseHead
from tests.wire.exchanges import observe, request_head, response_head
from tests.wire.http1_corpus import CORPUS, GET, OK, answered, asked

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def request(*fields: bytes, line: bytes = b"GET /a HTTP/1.1") -> bytes:
    return b"\r\n".join((line, b"Host: web", *fields, b"", b""))


def answer(*fields: bytes, line: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join((line, *fields, b"", b""))


class Http1Tests(SynchronousTestCase):
    def of_client(self, data: bytes) -> list[object]:
        return [*Http1Observer().client_data(data)]

    def of_server(self, data: bytes, ask: bytes = GET) -> list[object]:
        observer = Http1Observer()
        observer.client_data(ask)
        return [*observer.server_data(data)]

    def assert_gives_up(self, events: list[object], reason: str) -> None:
        self.assertEqual(events[-1:], [GaveUp(reason)])


class CorpusTests(SynchronousTestCase):
    def test_the_corpus_is_reported_as_it_should_be(self) -> None:
        for name, (exchange, events) in CORPUS.items():
            self.assertEqual(observe(Http1Observer(), exchange), events, name)


class RequestTests(Http1Tests):
    def test_of_the_fields_only_harmless_ones_are_kept(self) -> None:
        head = request(
            b"User-Agent:  curl/8 ",
            b"Authorization: Bearer s3cret",
            b"Cookie: id=s3cret",
            b"Content-Type: text/plain",
            b"X-Request-ID: 7",
        )
        kept = (("user-agent", "curl/8"), ("content-type", "text/plain"), ("x-request-id", "7"))
        self.assertEqual(self.of_client(head), [request_head(0, "GET", "web", "/a", kept)])

    def test_the_authority_of_an_absolute_target_comes_before_host(self) -> None:
        for target, authority, path in (
            (b"http://user:s3cret@api:8080/x?token=s3cret", "api:8080", "/x"),
            (b"http://api?q", "api", "/"),
            (b"http://api", "api", "/"),
            (b"*", "web", "*"),
            (b"/x#y", "web", "/x"),
            (b"/http://api/", "web", "/http://api/"),
            (b"/\xc3\xa9\xff", "web", "/é\\xff"),
        ):
            events = self.of_client(request(line=b"OPTIONS " + target + b" HTTP/1.1"))
            self.assertEqual(events, [request_head(0, "OPTIONS", authority, path)], target)

    def test_the_user_part_of_host_is_not_reported(self) -> None:
        events = self.of_client(b"GET /a HTTP/1.1\r\nHost: user:s3cret@web\r\n\r\n")
        self.assertEqual(events, [asked()])

    def test_a_method_that_nobody_registered_is_a_method(self) -> None:
        self.assertEqual(self.of_client(request(line=b"BREW /a HTTP/1.1")), [asked(method="BREW")])

    def test_a_length_may_have_more_zeros_than_python_reads_digits(self) -> None:
        head = request(b"Content-Length: " + b"0" * 5000 + b"2")
        self.assertEqual(self.of_client(head + b"ab" + GET), [asked(), asked(1)])
        events = self.of_server(answer(b"Content-Length: " + b"0" * 5000))
        self.assertEqual(events, answered(length=0))

    def test_long_texts_are_cut(self) -> None:
        (head,) = self.of_client(request(b"User-Agent: " + b"u" * 9999, line=b"GET /" + b"p" * 9999 + b" HTTP/1.1"))
        self.assertEqual(
            head, request_head(0, "GET", "web", "/" + "p" * (MAX_TEXT - 1), (("user-agent", "u" * MAX_TEXT),))
        )

    def test_what_could_be_framed_in_two_ways_is_given_up(self) -> None:
        for reason, *fields in (
            ("malformed fields", b"Content-Length: 1", b"Content-Length: 2"),
            ("malformed fields", b"Content-Length: 2", b"Content-Length: 2"),
            ("malformed fields", b"Content-Length: 2, 2"),
            ("malformed fields", b"Content-Length: +2"),
            ("malformed fields", b"Content-Length:"),
            ("malformed fields", b"Content-Length: 99999999999999999999"),
            ("malformed fields", b"Content-Length: 2", b"Transfer-Encoding: chunked"),
            ("malformed fields", b"Transfer-Encoding: chunked", b"Content-Length: 2"),
            ("malformed fields", b"Transfer-Encoding: gzip", b"Content-Length: 2"),
            ("malformed fields", b"Content-Length: 2", b"Transfer-Encoding: gzip"),
            ("chunked is not the last transfer coding", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
            ("chunked is not the last transfer coding", b"Transfer-Encoding: chunked, gzip"),
            ("a request's last transfer coding is not chunked", b"Transfer-Encoding: gzip"),
            ("a request's last transfer coding is not chunked", b"Transfer-Encoding: xchunked"),
            ("malformed fields", b"Transfer-Encoding : chunked"),
            ("malformed fields", b"X: a\nTransfer-Encoding: chunked"),
            ("malformed fields", b"X: a\r\n b"),
            ("malformed fields", b"X: \0"),
            ("malformed fields", b"no colon"),
            ("several Host fields", b"Host: other"),
        ):
            self.assertEqual(self.of_client(request(*fields)), [GaveUp(reason)], fields)

    def test_a_transfer_coding_in_http_1_0_is_given_up(self) -> None:
        self.assert_gives_up(
            self.of_client(request(b"Transfer-Encoding: chunked", line=b"GET /a HTTP/1.0")),
            "a transfer coding in HTTP/1.0",
        )

    def test_a_malformed_request_line_is_given_up(self) -> None:
        for line in (
            b"GET /a",
            b"GET  /a HTTP/1.1",
            b"GET /a HTTP/2.0",
            b"GET /a HTTP/1.1 ",
            b"G(T /a HTTP/1.1",
            b"GET /\x7f HTTP/1.1",
        ):
            self.assertEqual(self.of_client(request(line=line)), [GaveUp("malformed request line")], line)

    def test_a_head_may_fill_its_bound_and_no_more(self) -> None:
        filler = MAX_HEAD - len(request(b"X: ")) + 4
        self.assertEqual(self.of_client(request(b"X: " + b"y" * filler)), [asked()])
        self.assert_gives_up(self.of_client(request(b"X: " + b"y" * (filler + 1))), "the head of a request is too long")

    def test_a_head_without_an_end_is_not_kept_for_ever(self) -> None:
        observer = Http1Observer()
        events = observer.client_data(b"GET /" + b"a" * 10 * MAX_HEAD)
        self.assertEqual((events, observer.held), ([GaveUp("the head of a request is too long")], 0))

    def test_fields_are_counted(self) -> None:
        self.assertEqual(self.of_client(request(*[b"X: y"] * (MAX_FIELDS - 1))), [asked()])
        self.assert_gives_up(self.of_client(request(*[b"X: y"] * MAX_FIELDS)), "too many fields")

    def test_unanswered_requests_are_counted(self) -> None:
        observer = Http1Observer()
        self.assertEqual(observer.client_data(GET * MAX_WAITING), [asked(index) for index in range(MAX_WAITING)])
        observer.server_data(OK)
        self.assertEqual(observer.client_data(GET * 2), [asked(MAX_WAITING), GaveUp("too many unanswered requests")])

    def test_what_follows_a_request_for_another_protocol_is_kept_within_a_bound(self) -> None:
        observer = Http1Observer()
        observer.client_data(request(b"Upgrade: x"))
        self.assertEqual(observer.client_data(b"y" * MAX_UNCLEAR), [])
        self.assertEqual(observer.held, MAX_UNCLEAR)
        self.assertEqual(observer.client_data(b"y"), [GaveUp("too much behind a request for another protocol")])
        self.assertEqual(observer.held, 0)

    def test_a_declined_tunnel_was_http_all_along(self) -> None:
        exchange = [
            ("C", b"CONNECT db:1 HTTP/1.1\r\n\r\n" + GET),
            ("S", b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n" + OK),
        ]
        self.assertEqual(
            observe(Http1Observer(), exchange),
            [
                asked(method="CONNECT", authority="db:1", path=""),
                *answered(length=0, status=403),
                asked(1),
                *answered(1),
            ],
        )

    def test_an_upgrade_declined_before_its_body_is_there_keeps_nothing(self) -> None:
        for end, events in ((len(OK), answered()), (len(OK) - 1, [ResponseHead(0, 200)])):
            observer = Http1Observer()
            observer.client_data(request(b"Upgrade: x", b"Content-Length: 4") + b"ab")
            self.assertEqual(observer.server_data(OK[:end]), events)
            self.assertEqual(observer.client_data(b"cd" + GET), [asked(1)])

    def test_a_malformed_body_is_given_up(self) -> None:
        events = self.of_client(request(b"Transfer-Encoding: chunked") + b"x\r\n")
        self.assertEqual(events, [asked(), GaveUp("malformed chunk")])


class RepeatedHeadTests(Http1Tests):
    def count(self, name: str) -> list[bytes]:
        parse, parsed = getattr(http1, name), []

        def counted(head: bytes) -> object:
            parsed.append(head)
            return parse(head)

        self.patch(http1, name, counted)
        return parsed

    def test_a_head_like_the_one_before_it_is_not_parsed_again(self) -> None:
        requests, answers = self.count("parse_request"), self.count("parse_response")
        observer = Http1Observer()
        events = []
        for _ in range(3):
            events += observer.client_data(GET) + observer.server_data(OK)
        self.assertEqual(events, [event for index in range(3) for event in (asked(index), *answered(index))])
        self.assertEqual((len(requests), len(answers)), (1, 1))

    def test_another_head_takes_its_place(self) -> None:
        requests = self.count("parse_request")
        other = request(line=b"GET /b HTTP/1.1")
        events = Http1Observer().client_data(GET + other + other + GET)
        self.assertEqual(events, [asked(), asked(1, path="/b"), asked(2, path="/b"), asked(3)])
        self.assertEqual(len(requests), 3)

    def test_a_known_head_within_another_one_is_a_part_of_that(self) -> None:
        observer = Http1Observer()
        observer.client_data(GET)
        observer.server_data(OK)
        observer.client_data(b"PUT /b HTTP/1.1\r\nX: ")
        self.assertEqual(observer.client_data(GET), [asked(1, "PUT", path="/b")])
        observer.server_data(b"HTTP/1.1 404 \r\nX: ")
        self.assertEqual(observer.server_data(OK), answered(1, status=404))

    def test_a_long_head_is_not_remembered(self) -> None:
        requests = self.count("parse_request")
        observer = Http1Observer()
        long = request(b"X: " + b"y" * MAX_KNOWN)
        self.assertEqual(observer.client_data(long + long), [asked(), asked(1)])
        self.assertEqual(len(requests), 2)


class IdleTests(SynchronousTestCase):
    def test_between_requests_little_is_kept(self) -> None:
        """A kept-alive connection may be idle for hours: the last heads, what they say, and no more."""
        tracemalloc.start()
        try:
            observers = [Http1Observer() for _ in range(100)]
            for each in observers:
                each.client_data(GET[:5])
                each.client_data(GET[5:])
                each.server_data(OK)
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        self.assertLess(kept / len(observers), 550)


class AnswerTests(Http1Tests):
    def test_an_answer_without_a_request_is_given_up(self) -> None:
        self.assertEqual(Http1Observer().server_data(b"220 "), [GaveUp("an answer without a request")])
        self.assert_gives_up(self.of_server(OK + b"\r\n"), "an answer without a request")

    def test_a_malformed_answer_is_given_up(self) -> None:
        for reason, data in (
            ("malformed status line", answer(line=b"HTTP/2.0 200 OK")),
            ("malformed status line", answer(line=b"ICE/1.0 200 OK")),
            ("malformed status line", answer(line=b"HTTP/1.1 099 OK")),
            ("malformed status line", answer(line=b"HTTP/1.1 2000 OK")),
            ("malformed status line", answer(line=b"")),
            ("malformed fields", answer(b"Content-Length: 1", b"Content-Length: 1")),
            ("malformed fields", answer(b"Transfer-Encoding: chunked", b"Content-Length: 1")),
            ("malformed fields", answer(b"Transfer-Encoding: gzip", b"Content-Length: 1")),
            ("malformed fields", answer(b"Content-Length: 1", b"Transfer-Encoding: gzip")),
            ("chunked is not the last transfer coding", answer(b"Transfer-Encoding: chunked, gzip")),
            ("the head of an answer is too long", b"H" * 2 * MAX_HEAD),
        ):
            self.assertEqual(self.of_server(data), [GaveUp(reason)], data[:80])

    def test_a_transfer_coding_that_is_not_chunked_lasts_until_the_end(self) -> None:
        exchange = [("C", GET), ("S", answer(b"Transfer-Encoding: gzip") + b"123")]
        self.assertEqual(observe(Http1Observer(), exchange), [asked(), *answered(length=3)])

    def test_a_body_that_only_the_end_delimits_is_cut_by_a_reset(self) -> None:
        exchange = [("C", GET), ("S", answer() + b"123")]
        self.assertEqual(
            observe(Http1Observer(), exchange, orderly=False),
            [asked(), ResponseHead(0, 200), ResponseEnd(0, 3, reset=-1)],
        )

    def test_an_answer_that_never_came_is_cut(self) -> None:
        self.assertEqual(observe(Http1Observer(), [("C", GET)]), [asked(), ResponseEnd(0, 0, reset=-1)])
        self.assertEqual(observe(Http1Observer(), []), [])

    def test_an_early_answer_does_not_end_the_body_of_the_request(self) -> None:
        observer = Http1Observer()
        observer.client_data(request(b"Content-Length: 5") + b"GET")
        self.assertEqual(observer.server_data(OK), answered())
        self.assertEqual(observer.client_data(b" /" + GET), [asked(1)])

    def test_kept_fields_of_an_answer(self) -> None:
        events = self.of_server(answer(b"Content-Type: a/b", b"Set-Cookie: s3cret", b"Content-Length: 0"))
        self.assertEqual(events, [response_head(0, 200, (("content-type", "a/b"),)), ResponseEnd(0, 0)])

    def test_nothing_is_said_after_giving_up(self) -> None:
        observer = Http1Observer()
        observer.client_data(GET + b"\0\r\n\r\n")
        self.assertTrue(observer.detached)
        self.assertEqual([*observer.client_data(GET), *observer.server_data(OK), *observer.ended(True)], [])

    def test_a_changed_protocol_is_no_failure(self) -> None:
        observer = Http1Observer()
        events = observe(observer, CORPUS["websocket"][0])
        self.assertTrue(observer.detached)
        self.assertFalse([event for event in events if isinstance(event, GaveUp)])


class ChunkTests(Http1Tests):
    def of_chunks(self, data: bytes) -> list[object]:
        return self.of_server(CHUNKED + data)[1:]

    def test_malformed_chunks_are_given_up(self) -> None:
        for reason, data in (
            ("malformed chunk", b"\r\n"),
            ("malformed chunk", b"-1\r\n"),
            ("malformed chunk", b"0x1\r\n"),
            ("malformed chunk", b"1;a\nb\r\n"),
            ("malformed chunk", b"1 1\r\n"),
            ("malformed chunk", b"1" * 16 + b"\r\n"),
            ("a line of the chunked coding is too long", b"1\r\nabc"),
            ("a line of the chunked coding is too long", b"1\r\na\n\n"),
            ("a line of the chunked coding is too long", b"1;" + b"x" * MAX_LINE),
            ("a line of the chunked coding is too long", b"0\r\n" + b"x" * (MAX_TRAILER + 2)),
            ("malformed trailer", b"0\r\nno colon\r\n"),
            ("malformed trailer", b"0\r\n a: b\r\n"),
            ("malformed trailer", b"0\r\na: b\nc\r\n"),
            ("trailers are too long", b"0\r\n" + (b"a:" + b"b" * 1022 + b"\r\n") * 64),
        ):
            self.assertEqual(self.of_chunks(data), [GaveUp(reason)], data[:40])

    def test_only_the_content_of_chunks_counts(self) -> None:
        data = b'3 ; name="value"\r\nabc\r\n1\r\nd\r\n0;last\r\nExpires: never\r\nX:\r\n\r\n'
        self.assertEqual(self.of_chunks(data), [ResponseEnd(0, 4)])

    def test_an_unfinished_line_is_all_that_is_kept(self) -> None:
        observer = Http1Observer()
        observe_open = [("C", GET), ("S", CHUNKED + b"ffff\r\n" + b"x" * 5000)]
        for side, data in observe_open:
            observer.client_data(data) if side == "C" else observer.server_data(data)
        self.assertEqual(observer.held, 0)
        observer.server_data(b"x" * (0xFFFF - 5000) + b"\r\n12")
        self.assertEqual(observer.held, 2)
