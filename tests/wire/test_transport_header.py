"""The transport header, byte for byte as Linkerd's proxies send it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from meshtx.wire.malformed import Malformed
from meshtx.wire.transport_header import (
    MAX_HEADER,
    PREFACE,
    TransportHeader,
    TransportHeaderParser,
    encode_header,
)
from tests.effort import examples
from tests.wire.splits import disagreeing, splits

NAME = "web-svc.emojivoto.svc.cluster.local"

WIRE = {
    TransportHeader(80): PREFACE + b"\0\0\0\2\x08\x50",
    TransportHeader(65535, "", "http1"): PREFACE + b"\0\0\0\x08\x08\xff\xff\x03\x1a\2\x0a\0",
    TransportHeader(1, "", "http2"): PREFACE + b"\0\0\0\6\x08\1\x1a\2\x12\0",
    TransportHeader(8080, "a.b"): PREFACE + b"\0\0\0\x08\x08\x90\x3f\x12\3a.b",
    TransportHeader(4143, NAME, "http2"): PREFACE
    + b"\0\0\0\x2c\x08\xaf\x20\x12\x23web-svc.emojivoto.svc.cluster.local\x1a\2\x12\0",
}


def framed(payload: bytes) -> bytes:
    return PREFACE + len(payload).to_bytes(4, "big") + payload


BROKEN = {
    b"GET / HTTP/1.1\r\n\r\n": "no transport header",
    PREFACE[:-1] + b"x": "no transport header",
    PREFACE + (MAX_HEADER + 1).to_bytes(4, "big"): "transport header of 4097 bytes, at most 4096",
    framed(b""): "transport header with port 0",
    framed(b"\x08\x80\x80\4"): "transport header with port 65536",
    framed(b"\x08" + b"\xff" * 9 + b"\1"): "transport header with port -1",
    framed(b"\x08"): "transport header that is no protobuf message",
    framed(b"\x08\1\x12\1\xff"): "transport header that is no protobuf message",
    framed(b"\x08\1\x12\3a b"): "transport header with a name that is no DNS name",
    framed(b"\x08\1\x12\2a\n"): "transport header with a name that is no DNS name",
}

Verdict = TransportHeader | Malformed | None


def parse(*pieces: bytes) -> tuple[Verdict, bytes]:
    parser = TransportHeaderParser()
    verdict: Verdict = None
    for piece in pieces:
        verdict = parser.receive_data(piece)
    return verdict, parser.rest()


class TransportHeaderTests(SynchronousTestCase):
    """What goes on the wire and what is read from it."""

    def test_the_preface_is_linkerds(self) -> None:
        self.assertEqual(PREFACE.hex(), "7472616e73706f72742e6c35642e696f2f76310d0a0d0a")

    def test_headers_go_both_ways(self) -> None:
        for header, wire in WIRE.items():
            self.assertEqual(encode_header(header), wire)
            self.assertEqual(parse(wire), (header, b""))

    def test_bytes_behind_the_header_are_kept_for_the_application(self) -> None:
        wire = WIRE[TransportHeader(80)]
        self.assertEqual(parse(wire + b"GET /"), (TransportHeader(80), b"GET /"))
        self.assertEqual(parse(wire, b"GET ", b"/"), (TransportHeader(80), b"GET /"))

    def test_the_longest_header_is_read(self) -> None:
        longest = framed(b"\x08\1\x7a\xfb\x1f" + bytes(4091))  # a field that only a later version knows
        self.assertEqual(len(longest), len(PREFACE) + 4 + MAX_HEADER)
        self.assertEqual(parse(longest), (TransportHeader(1), b""))

    def test_what_breaks_the_format_is_malformed(self) -> None:
        for wire, reason in BROKEN.items():
            self.assertEqual(parse(wire), (Malformed(reason), b""))
            self.assertEqual(parse(wire, b"more"), (Malformed(reason), b""))

    def test_a_wrong_byte_of_the_preface_is_told_at_once(self) -> None:
        self.assertEqual(parse(b"transport.l5d.io/v2"), (Malformed("no transport header"), b""))

    def test_an_unfinished_header_is_undecided_and_has_no_rest(self) -> None:
        wire = WIRE[TransportHeader(8080, "a.b")]
        for size in range(len(wire)):
            self.assertEqual(parse(wire[:size]), (None, b""))

    def test_unknown_fields_and_session_protocols_are_passed_over(self) -> None:
        self.assertEqual(parse(framed(b"\x08\x50\x7a\3new")), (TransportHeader(80), b""))
        self.assertEqual(parse(framed(b"\x08\x50\x1a\2\x7a\0")), (TransportHeader(80), b""))

    def test_a_header_that_nobody_would_take_is_not_sent(self) -> None:
        for header in (
            TransportHeader(0),
            TransportHeader(65536),
            TransportHeader(80, "a b"),
            TransportHeader(80, "a" * 255),
            TransportHeader(80, "", "http3"),
        ):
            self.assertRaises(ValueError, encode_header, header)


STARTS = [b"", PREFACE, PREFACE + b"\0\0\0\x08", PREFACE + b"\0\0\4\0"]


class TransportHeaderSplitTests(SynchronousTestCase):
    """The header is the same however the bytes arrive."""

    def test_one_and_two_cuts_give_the_same(self) -> None:
        for data in [*(wire + b"hello" for wire in WIRE.values()), *BROKEN]:
            self.assertIsNone(disagreeing(parse, data))

    @examples(500)
    @given(st.data())
    def test_every_split_gives_the_same(self, draw: st.DataObject) -> None:
        header = draw.draw(st.sampled_from(list(WIRE)))
        rest = draw.draw(st.sampled_from([b"", PREFACE, b"GET / HTTP/1.1\r\n"]))
        pieces = draw.draw(splits(encode_header(header) + rest))
        self.assertEqual(parse(*pieces), (header, rest))

    @examples(500)
    @given(st.lists(st.binary(max_size=200), max_size=4), st.sampled_from(STARTS))
    def test_random_bytes_never_raise_and_are_not_kept(self, pieces: list[bytes], start: bytes) -> None:
        parser = TransportHeaderParser()
        for piece in [start, *pieces]:
            verdict = parser.receive_data(piece)
            if not isinstance(verdict, TransportHeader):
                self.assertLessEqual(parser.held, len(PREFACE) + 4 + MAX_HEADER)
            if isinstance(verdict, Malformed):
                self.assertEqual(parser.held, 0)
