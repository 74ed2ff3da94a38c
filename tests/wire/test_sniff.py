"""Tests for `meshtx.wire.sniff`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from meshtx.wire.sniff import LIMIT, PREFACE, Detection, detect_h2, detect_http1
from tests.effort import examples
from tests.wire.splits import disagreeing, splits

YES, NO, MORE = Detection.YES, Detection.NO, Detection.MORE

HTTP1 = [
    b"GET / HTTP/1.1\r\n",
    b"GET /api/vote?choice=1 HTTP/1.0\r\n",
    b"OPTIONS * HTTP/1.1\r\n",
    b"CONNECT db:5432 HTTP/1.1\r\n",
    b"PURGE /a HTTP/1.1\r\n",
    b"\r\n\r\nPOST http://web/ HTTP/1.1\r\n",
    b"GET /\xc3\xa9 HTTP/1.1\r\n",
]
OTHERS = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
    b"\x00\x00\x00\x08\x04\xd2\x16\x2f",  # PostgreSQL
    b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
    b"EHLO mail.example.org\r\n",
    b"GET key\r\n",  # memcached, Redis inline
    b"*1\r\n$4\r\nPING\r\n",
    b"GET / HTTP/2.0\r\n",
    b"GET / HTTP/1.2\r\n",
    b"GET / HTTQ\r\n",
    b"GET  / HTTP/1.1\r\n",
    b"GET /\r\n",
    b"AMQP\0\0\x09\x01",
    b"A" * 33 + b" / HTTP/1.1\r\n",
    b"\r\n" * 32,
    b"Q" * 32 + b" /" + b"a" * 40,
    b"REPORTS /" + b"a" * 60,
]


HTTP2 = [PREFACE, PREFACE + b"\0\0\0\4\0\0\0\0\0", PREFACE[:-1] + b"\r"]
CORPUS = [*HTTP1, *OTHERS, *HTTP2, b"GET /" + b"a" * 100, b"REPORT /" + b"a" * LIMIT + b" HTTP/1.1\r\n"]


def answer(detect: Callable[[bytes], Detection], *pieces: bytes) -> Detection:
    """Ask after each piece, as long as the answer is MORE."""
    answers = map(detect, accumulate(pieces))
    return next((verdict for verdict in answers if verdict is not MORE), MORE)


def first_answer(detect, data: bytes) -> tuple[Detection, int]:
    """Ask with one byte more each time; return the first answer that is not MORE, and after how many bytes."""
    for size in range(1, len(data) + 1):
        verdict = detect(data[:size])
        if verdict is not MORE:
            return verdict, size
    return MORE, len(data)


class Http1Tests(SynchronousTestCase):
    def test_a_request_line_is_known_once_its_version_is_there(self) -> None:
        for line in HTTP1:
            self.assertEqual(first_answer(detect_http1, line), (YES, len(line) - 2), line)

    def test_other_protocols_are_told_apart(self) -> None:
        for data in OTHERS:
            self.assertIs(first_answer(detect_http1, data)[0], NO, data)

    def test_it_is_no_at_the_first_byte_that_cannot_be(self) -> None:
        self.assertEqual(first_answer(detect_http1, b"\x16\x03\x01"), (NO, 1))
        self.assertEqual(first_answer(detect_http1, b"GET / HTTP/2"), (NO, 12))
        self.assertEqual(first_answer(detect_http1, PREFACE), (NO, 12))

    def test_a_long_target_is_decided_by_its_registered_method(self) -> None:
        self.assertEqual(first_answer(detect_http1, b"GET /" + b"a" * 100), (YES, LIMIT))

    def test_nothing_beyond_the_limit_is_looked_at(self) -> None:
        line = b"REPORT /" + b"a" * LIMIT + b" HTTP/1.1\r\n"
        self.assertIs(detect_http1(line), NO)

    @examples(500)
    @given(st.one_of(st.binary(max_size=80), st.sampled_from(CORPUS)), st.binary(max_size=8))
    def test_an_answer_is_final_and_comes_by_the_limit(self, data: bytes, more: bytes) -> None:
        for detect in (detect_http1, detect_h2):
            answers = [detect((data + more)[:size]) for size in range(1, len(data + more) + 1)]
            final = [answer for answer in answers if answer is not MORE]
            self.assertLessEqual(len(set(final)), 1)
            self.assertEqual(answers, [MORE] * (len(answers) - len(final)) + final)
            self.assertLess(len(answers) - len(final), LIMIT)


class H2Tests(SynchronousTestCase):
    def test_the_preface_is_known_when_it_is_whole(self) -> None:
        self.assertEqual(first_answer(detect_h2, PREFACE + b"\0\0"), (YES, len(PREFACE)))

    def test_other_protocols_are_no_at_the_first_byte_that_differs(self) -> None:
        self.assertEqual(first_answer(detect_h2, b"POST / HTTP/1.1"), (NO, 2))
        for data in OTHERS:
            self.assertIs(first_answer(detect_h2, data)[0], NO, data)


class SplitTests(SynchronousTestCase):
    """The verdict is the same however the bytes arrive."""

    def test_one_and_two_cuts_give_the_same_verdict(self) -> None:
        for detect in (detect_http1, detect_h2):
            for data in CORPUS:
                self.assertIsNone(disagreeing(partial(answer, detect), data))

    @examples(500)
    @given(st.data())
    def test_every_split_gives_the_same_verdict(self, draw: st.DataObject) -> None:
        data = draw.draw(st.sampled_from(CORPUS) | st.binary(max_size=80))
        pieces = draw.draw(splits(data))
        for detect in (detect_http1, detect_h2):
            self.assertIs(answer(detect, *pieces), answer(detect, data))
