from __future__ import annotations

from typing import Any

import hpack
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from meshtx.wire.hpack_block import MAX_FIELDS, BlockDecoder
from meshtx.wire.http_events import MAX_HEAD
from meshtx.wire.work import Work

FIELDS = st.lists(st.tuples(st.binary(max_size=40), st.binary(max_size=200), st.booleans()), max_size=12)
"""Names, values, and whether they are never to be indexed."""


def outcome(decode: Any, block: bytes) -> object:
    """Return the fields, or that it is malformed."""
    try:
        return [tuple(each) for each in decode(block)]
    except hpack.HPACKError:
        return "malformed"


class BlockTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.decoder = BlockDecoder(Work())

    def refused(self, block: bytes) -> None:
        self.assertEqual(outcome(self.decoder.decode, block), "malformed")

    @given(st.lists(FIELDS, max_size=4), st.booleans())
    def test_what_an_encoder_has_written_is_read(self, blocks: list[Any], huffman: bool) -> None:
        encoder, decoder = hpack.Encoder(), BlockDecoder(Work())
        for fields in blocks:
            block = encoder.encode(fields, huffman=huffman)
            self.assertEqual(decoder.decode(block), [(name, value) for name, value, _ in fields])

    @given(st.lists(st.binary(max_size=40), max_size=3))
    def test_any_bytes_mean_what_they_mean_to_hpack(self, blocks: list[bytes]) -> None:
        ours, theirs = BlockDecoder(Work()), hpack.Decoder(max_header_list_size=MAX_HEAD)
        for block in blocks:
            read = outcome(ours.decode, block)
            expected = outcome(lambda each: theirs.decode(each, raw=True), block)
            if read != expected:  # the one thing in which we are stricter
                self.assertEqual((read, block[0] & 0xE0), ("malformed", 0x20))
            if "malformed" in (read, expected):
                return

    def test_the_table_has_the_size_that_the_block_says(self) -> None:
        self.decoder.decode(b"\x20\x3f\xe1\x0f")  # 0, then 2048 bytes
        self.assertEqual(self.decoder.table_size, 2048)

    def test_a_larger_table_than_is_allowed_is_refused(self) -> None:
        self.refused(b"\x3f\xe2\x1f")  # 4097 bytes

    def test_a_table_that_was_not_made_smaller_is_refused(self) -> None:
        self.decoder.max_table_size = 100
        self.refused(b"\x82")

    def test_a_third_size_update_is_refused(self) -> None:
        self.assertEqual(self.decoder.decode(b"\x20\x20\x82"), [(b":method", b"GET")])
        self.refused(b"\x20\x20\x20\x82")

    def test_a_size_update_behind_a_field_is_refused(self) -> None:
        self.refused(b"\x82\x20")

    def test_a_block_has_a_bound_of_fields(self) -> None:
        self.assertEqual(len(self.decoder.decode(b"\x82" * MAX_FIELDS)), MAX_FIELDS)
        self.refused(b"\x82" * (MAX_FIELDS + 1))

    def test_a_block_is_bounded_as_it_is_decoded(self) -> None:
        self.decoder.decode(b"\x40\x01a\x7f\xa1\x1e" + b"b" * 4000)  # 4033 bytes with what each field counts
        self.assertEqual(len(self.decoder.decode(b"\xbe" * 16)), 16)
        self.refused(b"\xbe" * 17)

    def test_what_is_cut_is_refused(self) -> None:
        whole = b"\x40\x01a\x03bcd\x0f\x2f\x01x"
        self.assertEqual(len(BlockDecoder(Work()).decode(whole)), 2)
        for cut in (*range(1, 7), *range(8, len(whole))):
            self.assertEqual(outcome(BlockDecoder(Work()).decode, whole[:cut]), "malformed", cut)
