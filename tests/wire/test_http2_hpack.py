"""Tests for `meshtx.wire.http2_hpack`: it says what the hpack package says."""

from __future__ import annotations

from hpack import Decoder, Encoder, HPACKError
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from meshtx.wire import http2_hpack
from meshtx.wire.http2_hpack import BadBlock, HpackDecoder, huffman

LIMIT = 4000

texts = st.one_of(st.binary(max_size=12), st.sampled_from([b"", b"GET", b"a" * 200, bytes(range(256)), b"\xff" * 40]))
names = st.one_of(texts, st.sampled_from([b":method", b":path", b"user-agent", b"x-a", b"x-b"]))
fields = st.lists(st.tuples(names, texts, st.booleans()), max_size=6)
turns = st.tuples(fields, st.booleans(), st.sampled_from([None, None, None, 0, 33, 100, 4096]))
crumbs = st.sampled_from(
    [b"\x82", b"\xbe", b"\xff\x00", b"\x3f\xe1\x1f", b"\x20", b"\x80", b"\x40", b"\x7f\x80", b"\x0f"]
)
blocks = st.lists(st.one_of(st.binary(max_size=20), st.lists(crumbs, max_size=6).map(b"".join)), max_size=8)

Said = list[tuple[bytes, bytes]] | None


class Both:
    """Our decoder, and the one to compare with."""

    def __init__(self) -> None:
        self.ours = HpackDecoder(LIMIT)
        self.theirs = Decoder(max_header_list_size=LIMIT)

    def allow(self, size: int) -> None:
        self.ours.allowed = self.theirs.max_allowed_table_size = size

    def decode(self, block: bytes) -> tuple[Said, Said]:
        try:
            ours: Said = self.ours.decode(block)
        except BadBlock:
            ours = None
        try:
            theirs: Said = [(bytes(name), bytes(value)) for name, value in self.theirs.decode(block, raw=True)]
        except HPACKError:
            theirs = None
        return ours, theirs

    def tables(self) -> tuple[object, object]:
        table = self.theirs.header_table
        return (
            (self.ours._entries, self.ours._used, self.ours.size),
            (table.dynamic_entries, table._current_size, table.maxsize),
        )


class HpackTests(SynchronousTestCase):
    @settings(max_examples=500)
    @given(st.lists(turns, max_size=8))
    def test_what_an_encoder_says_is_read(
        self, turns: list[tuple[list[tuple[bytes, bytes, bool]], bool, int | None]]
    ) -> None:
        both, encoder = Both(), Encoder()
        for pairs, coded, size in turns:
            if size is not None:
                encoder.header_table_size = size
            block = encoder.encode(pairs, huffman=coded)
            ours, theirs = both.decode(block)
            self.assertEqual(ours, theirs)
            if ours is None:
                return
            self.assertEqual(ours, [(name, value) for name, value, _ in pairs])
            self.assertEqual(*both.tables())

    @settings(max_examples=1500)
    @given(blocks, st.sampled_from([0, 40, 4096, 8192]))
    def test_anything_at_all_is_read_or_refused_alike(self, blocks: list[bytes], allowed: int) -> None:
        both = Both()
        both.decode(Encoder().encode([("x-a", "1"), ("x-b", "2" * 50)]))
        both.allow(allowed)
        for block in blocks:
            ours, theirs = both.decode(block)
            self.assertEqual(ours, theirs)
            if ours is None:
                return
            self.assertEqual(*both.tables())

    @settings(max_examples=500)
    @given(st.binary(max_size=12))
    def test_any_huffman_code_is_read_or_refused_alike(self, raw: bytes) -> None:
        ours, theirs = Both().decode(b"\x00\x01a" + bytes([0x80 | len(raw)]) + raw)
        self.assertEqual(ours, theirs)

    def test_every_byte_has_its_code(self) -> None:
        coder = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
        for byte in range(256):
            text = bytes([byte]) * 3
            self.assertEqual(huffman(coder.encode(text)), text)

    def test_an_integer_has_five_bytes_at_most(self) -> None:
        for spare, name in ((4, b"a" * 127), (5, None)):
            block = b"\x00\x7f" + b"\x80" * spare + b"\x00" + b"a" * 127 + b"\x00"
            self.assertEqual(Both().decode(block), ([(name, b"")],) * 2 if name else (None, None))

    def test_fields_are_bounded(self) -> None:
        decoder = HpackDecoder(LIMIT)
        decoder.decode(Encoder().encode([("a", "x" * 1000)]))
        self.assertEqual(len(decoder.decode(b"\xbe" * 3)), 3)
        self.assertRaises(BadBlock, decoder.decode, b"\xbe" * 4)

    def test_remembered_steps_are_bounded(self) -> None:
        self.patch(http2_hpack, "MAX_STEPS", 10)
        self.patch(http2_hpack, "_steps", {})
        coder = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
        text = bytes(range(256))
        self.assertEqual(huffman(coder.encode(text)), text)
        self.assertLessEqual(len(http2_hpack._steps), 10)
