"""The PROXY protocol, byte for byte as its specification and HAProxy have it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from meshtx.wire.address import Address
from meshtx.wire.malformed import Malformed
from meshtx.wire.proxy_header import (
    ALPN,
    AUTHORITY,
    MAX_V1,
    MAX_V2,
    NOBODY,
    PEER_IDENTITY,
    SIGNATURE,
    ProxyHeader,
    ProxyHeaderParser,
    encode_v2,
)
from tests.effort import examples
from tests.wire.splits import disagreeing, splits

CLIENT, SERVER = Address.parse("192.0.2.7:56324"), Address.parse("203.0.113.1:443")
CLIENT6, SERVER6 = Address.parse("[2001:db8::7]:56324"), Address.parse("[2001:db8::1]:443")
LONGEST_V1 = b"PROXY UNKNOWN " + b"f" * (MAX_V1 - 16) + b"\r\n"

PACKED4 = bytes.fromhex("c0000207 cb007101 dc04 01bb")
PACKED6 = bytes.fromhex("20010db8000000000000000000000007 20010db8000000000000000000000001 dc04 01bb")
TLVS = ((ALPN, b"h2"), (AUTHORITY, b"shop.test"), (PEER_IDENTITY, b"spiffe://cluster.local/ns/a/sa/b"), (0x04, b""))
PACKED_TLVS = (
    bytes.fromhex("01 0002") + b"h2" + bytes.fromhex("02 0009") + b"shop.test" + bytes.fromhex("d0 0020") + TLVS[2][1]
) + bytes.fromhex("04 0000")


def v2(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + bytes([command, family]) + len(body).to_bytes(2, "big") + body


WHOLE = {
    b"PROXY TCP4 192.0.2.7 203.0.113.1 56324 443\r\n": ProxyHeader(CLIENT, SERVER),
    b"PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n": ProxyHeader(
        Address.parse("255.255.255.255:65535"), Address.parse("0.0.0.0:0")
    ),
    b"PROXY TCP6 2001:db8::7 2001:DB8:0:0::1 56324 443\r\n": ProxyHeader(CLIENT6, SERVER6),
    b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:203.0.113.1 56324 443\r\n": ProxyHeader(CLIENT, SERVER),
    b"PROXY UNKNOWN\r\n": NOBODY,
    b"PROXY UNKNOWN 192.0.2.7 \xff\n x\r\n": NOBODY,
    LONGEST_V1: NOBODY,
    v2(0x21, 0x11, PACKED4): ProxyHeader(CLIENT, SERVER),
    v2(0x21, 0x21, PACKED6): ProxyHeader(CLIENT6, SERVER6),
    v2(0x21, 0x11, PACKED4 + PACKED_TLVS): ProxyHeader(CLIENT, SERVER, TLVS),
    v2(0x20, 0x00, b""): NOBODY,
    v2(0x20, 0x11, PACKED4): NOBODY,
    v2(0x20, 0xFF, b"anything"): NOBODY,
    v2(0x21, 0x00, b""): NOBODY,
    v2(0x21, 0x11, PACKED4 + b"\x04\0\0" * 64): ProxyHeader(CLIENT, SERVER, ((0x04, b""),) * 64),
    v2(0x21, 0x00, PACKED_TLVS): NOBODY,
    v2(0x21, 0x12, PACKED4): NOBODY,
    v2(0x21, 0x22, PACKED6): NOBODY,
    v2(0x21, 0x31, b"/" * 216): NOBODY,
    v2(0x21, 0x32, b"/" * 216): NOBODY,
}

OTHER_LINE = "PROXY line of another form"
BAD_TCP4 = "PROXY line with an address or a port that is none of TCP4"
BAD_TCP6 = "PROXY line with an address or a port that is none of TCP6"

BROKEN = {
    b"GET / HTTP/1.1\r\n\r\n": "no PROXY header",
    b"\x16\3\1\2\0": "no PROXY header",
    b"proxy TCP4 192.0.2.7 203.0.113.1 56324 443\r\n": "no PROXY header",
    SIGNATURE[:-1] + b"\r": "no PROXY header",
    LONGEST_V1[:-2] + b"f\r\n": "PROXY line without an end in 107 bytes",
    b"PROXY " * 20: "PROXY line without an end in 107 bytes",
    b"PROXY \r\n": OTHER_LINE,
    b"PROXY UNKNOWNS\r\n": OTHER_LINE,
    b"PROXY UDP4 192.0.2.7 203.0.113.1 56324 443\r\n": OTHER_LINE,
    b"PROXY TCP4  192.0.2.7 203.0.113.1 56324 443\r\n": OTHER_LINE,
    b"PROXY TCP4 192.0.2.7 203.0.113.1 56324 443 \r\n": OTHER_LINE,
    b"PROXY TCP4 192.0.2.7 203.0.113.1 56324\r\n": OTHER_LINE,
    b"PROXY TCP4 192.0.2.7 203.0.113.1 056324 443\r\n": OTHER_LINE,
    b"PROXY TCP4 192.0.2.7 203.0.113.1 +56324 443\r\n": OTHER_LINE,
    b"PROXY TCP4 192.0.2.7 203.0.113.1 56324 443\n\r\n": OTHER_LINE,
    b"PROXY TCP6 fe80::1%eth0 2001:db8::1 56324 443\r\n": OTHER_LINE,
    b"PROXY TCP4 192.0.2.256 203.0.113.1 56324 443\r\n": BAD_TCP4,
    b"PROXY TCP4 192.0.2.07 203.0.113.1 56324 443\r\n": BAD_TCP4,
    b"PROXY TCP4 192.0.2.7 203.0.113.1 65536 443\r\n": BAD_TCP4,
    b"PROXY TCP4 ::1 ::1 56324 443\r\n": BAD_TCP4,
    b"PROXY TCP6 192.0.2.7 203.0.113.1 56324 443\r\n": BAD_TCP6,
    v2(0x11, 0x11, PACKED4): "PROXY header with version and command 0x11",
    v2(0x22, 0x11, PACKED4): "PROXY header with version and command 0x22",
    v2(0x21, 0x10, PACKED4): "PROXY header with family and transport 0x10",
    v2(0x21, 0x41, PACKED4): "PROXY header with family and transport 0x41",
    v2(0x21, 0x11, PACKED4[:-1]): "PROXY header with addresses of 11 bytes instead of 12",
    v2(0x21, 0x21, PACKED4): "PROXY header with addresses of 12 bytes instead of 36",
    v2(0x21, 0x11, PACKED4 + b"\1"): "PROXY header with a TLV that is cut off",
    v2(0x21, 0x11, PACKED4 + b"\1\0"): "PROXY header with a TLV that is cut off",
    v2(0x21, 0x11, PACKED4 + b"\1\0\3h2"): "PROXY header with a TLV that is cut off",
    v2(0x21, 0x11, PACKED4 + b"\x04\0\0" * 65): "PROXY header with more than 64 TLVs",
    SIGNATURE + b"\x21\x11\x08\x01": "PROXY header with 2049 bytes behind its start, at most 2048",
}

Verdict = ProxyHeader | Malformed | None


def parse(*pieces: bytes) -> tuple[Verdict, bytes]:
    parser = ProxyHeaderParser()
    verdict: Verdict = None
    for piece in pieces:
        verdict = parser.receive_data(piece)
    return verdict, parser.rest()


class ProxyHeaderTests(SynchronousTestCase):
    """What goes on the wire and what is read from it."""

    def test_every_form_is_read(self) -> None:
        for wire, header in WHOLE.items():
            self.assertEqual(parse(wire), (header, b""), wire)

    def test_what_breaks_the_format_is_malformed(self) -> None:
        for wire, reason in BROKEN.items():
            self.assertEqual(parse(wire), (Malformed(reason), b""), wire)
            self.assertEqual(parse(wire, b"more"), (Malformed(reason), b""), wire)

    def test_a_wrong_byte_is_told_at_once(self) -> None:
        for start in (b"G", b"PROXI", b"\r\n\r\n\1"):
            self.assertEqual(parse(start), (Malformed("no PROXY header"), b""))

    def test_an_unfinished_header_is_undecided_and_has_no_rest(self) -> None:
        for wire in WHOLE:
            for size in range(len(wire)):
                self.assertEqual(parse(wire[:size]), (None, b""))

    def test_a_line_that_is_too_long_is_told_when_it_is(self) -> None:
        line = b"PROXY UNKNOWN ".ljust(MAX_V1, b"f")
        self.assertEqual(parse(line[:-1]), (None, b""))
        self.assertEqual(parse(line), (Malformed("PROXY line without an end in 107 bytes"), b""))

    def test_a_header_that_is_too_long_is_told_before_it_is_there(self) -> None:
        start = SIGNATURE + b"\x21\x11" + (MAX_V2 + 1).to_bytes(2, "big")
        self.assertEqual(parse(start[:-1]), (None, b""))
        self.assertIsInstance(parse(start)[0], Malformed)

    def test_the_longest_header_is_taken(self) -> None:
        filler = b"\xe0" + (MAX_V2 - 15).to_bytes(2, "big") + b"x" * (MAX_V2 - 15)
        header, rest = parse(v2(0x21, 0x11, PACKED4 + filler) + b"GET")
        self.assertEqual((header, rest), (ProxyHeader(CLIENT, SERVER, ((0xE0, b"x" * (MAX_V2 - 15)),)), b"GET"))

    def test_a_second_header_is_bytes_of_the_application(self) -> None:
        """A client behind a declared balancer may send what it likes: the balancer's word came first."""
        forged = b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n"
        for wire, header in WHOLE.items():
            self.assertEqual(parse(wire + forged), (header, forged))
            self.assertEqual(parse(wire, forged), (header, forged))

    def test_headers_are_written_as_they_are_read(self) -> None:
        self.assertEqual(encode_v2(CLIENT, SERVER), v2(0x21, 0x11, PACKED4))
        self.assertEqual(encode_v2(CLIENT6, SERVER6), v2(0x21, 0x21, PACKED6))
        self.assertEqual(encode_v2(CLIENT, SERVER, TLVS), v2(0x21, 0x11, PACKED4 + PACKED_TLVS))

    def test_ends_of_two_families_are_both_written_as_ipv6(self) -> None:
        mapped = b"\0" * 10 + b"\xff\xff"
        packed = mapped + CLIENT.ip.packed + SERVER6.ip.packed + bytes.fromhex("dc04 01bb")
        self.assertEqual(encode_v2(CLIENT, SERVER6), v2(0x21, 0x21, packed))
        self.assertEqual(parse(encode_v2(CLIENT6, SERVER)), (ProxyHeader(CLIENT6, SERVER), b""))

    def test_a_header_that_we_would_not_take_is_not_sent(self) -> None:
        encode_v2(CLIENT, SERVER, [(0xE0, b"x" * (MAX_V2 - 15))])
        self.assertRaises(ValueError, encode_v2, CLIENT, SERVER, [(0xE0, b"x" * (MAX_V2 - 14))])


ADDRESSES = st.builds(
    Address, st.ip_addresses().map(lambda ip: Address.of(str(ip), 0).ip), st.integers(min_value=0, max_value=65535)
)
SOME_TLVS = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=40)), max_size=6).map(tuple)
STARTS = [b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11", SIGNATURE + b"\x21\x21\0\x40"]


class ProxyHeaderSplitTests(SynchronousTestCase):
    """The header is the same however the bytes arrive, and nothing that arrives does harm."""

    def test_one_and_two_cuts_give_the_same(self) -> None:
        for data in [*(wire + b"hello" for wire in WHOLE), *BROKEN]:
            self.assertIsNone(disagreeing(parse, data))

    @examples(500)
    @given(ADDRESSES, ADDRESSES, SOME_TLVS, st.data())
    def test_what_is_written_is_read_in_any_pieces(
        self, source: Address, destination: Address, tlvs: tuple[tuple[int, bytes], ...], draw: st.DataObject
    ) -> None:
        rest = draw.draw(st.sampled_from([b"", SIGNATURE, b"PROXY UNKNOWN\r\n", b"GET /"]))
        pieces = draw.draw(splits(encode_v2(source, destination, tlvs) + rest))
        self.assertEqual(parse(*pieces), (ProxyHeader(source, destination, tlvs), rest))

    @examples(500)
    @given(st.lists(st.binary(max_size=200), max_size=4), st.sampled_from(STARTS))
    def test_random_bytes_never_raise_and_are_not_kept(self, pieces: list[bytes], start: bytes) -> None:
        parser = ProxyHeaderParser()
        for piece in [start, *pieces]:
            verdict = parser.receive_data(piece)
            if verdict is None:
                self.assertLess(parser.held, 16 + MAX_V2)
            if isinstance(verdict, Malformed):
                self.assertEqual(parser.held, 0)

    @examples(500)
    @given(st.sampled_from(list(WHOLE)), st.data())
    def test_a_damaged_header_never_raises_and_the_bytes_behind_it_are_whole(
        self, wire: bytes, draw: st.DataObject
    ) -> None:
        at = draw.draw(st.integers(0, len(wire) - 1))
        damaged = wire[:at] + draw.draw(st.binary(max_size=3)) + wire[at + 1 :]
        verdict, rest = parse(*draw.draw(splits(damaged)))
        self.assertTrue(damaged.endswith(rest))
        if isinstance(verdict, Malformed):
            self.assertEqual(rest, b"")
