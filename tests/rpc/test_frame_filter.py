from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from meshtx.rpc.frame_filter import HEADER, MAX_PAYLOAD, FrameFilter, GoAway, TooLong, encode_goaway
from meshtx.wire.sniff import PREFACE
from tests.effort import examples
from tests.wire.splits import cuts, splits

PING = b"\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678"
EMPTY = b"\x00\x00\x00\x00\x00\x00\x00\x00\x01"
SHORT = b"\x00\x00\x07\x07\x00\x00\x00\x00\x001234567"
LONG = b"\x00\x40\x01\x07\x00\x00\x00\x00\x00"
HEAD = b"\x00\x20\x00\x01\x00\x00\x00\x00\x01" + bytes(2**13)
MORE = b"\x00\x10\x00\x09\x00\x00\x00\x00\x01" + bytes(2**12)

CORPUS = {
    PREFACE + PING + encode_goaway(7) + EMPTY: (PREFACE + PING + EMPTY, [GoAway(7, 0)]),
    PREFACE + encode_goaway(2**31 - 1, 11) + encode_goaway(1): (PREFACE, [GoAway(2**31 - 1, 11), GoAway(1, 0)]),
    PREFACE + PING + LONG + PING: (PREFACE + PING, [TooLong(MAX_PAYLOAD + 1)]),
    PREFACE + SHORT + PING: (PREFACE + SHORT + PING, []),
    PREFACE + PING[:5]: (PREFACE, []),
    PREFACE + encode_goaway(1)[:-1]: (PREFACE, []),
}


def feed(pieces: list[bytes] | tuple[bytes, ...]) -> tuple[bytes, list[GoAway | TooLong]]:
    frames = FrameFilter(len(PREFACE))
    results = [frames.receive_data(piece) for piece in pieces]
    return b"".join(passed for passed, _ in results), [each for _, found in results for each in found]


class FilterTests(SynchronousTestCase):
    def test_goaways_and_what_is_too_long_are_taken_out(self) -> None:
        for data, expected in CORPUS.items():
            self.assertEqual(feed([data]), expected)

    def test_one_and_two_cuts_change_nothing(self) -> None:
        for data, expected in CORPUS.items():
            for pieces in cuts(data):
                self.assertEqual(feed(pieces), expected)

    @examples(250)
    @given(st.data())
    def test_random_bytes_pass_or_are_held_and_never_many(self, draw: st.DataObject) -> None:
        data = draw.draw(
            st.binary(max_size=200) | st.lists(st.sampled_from([PING, EMPTY, SHORT]), max_size=9).map(b"".join)
        )
        frames = FrameFilter(0)
        for piece in draw.draw(splits(data)):
            frames.receive_data(piece)
            self.assertLessEqual(len(frames._held), HEADER + MAX_PAYLOAD)

    def test_a_header_block_may_be_as_long_as_a_frame(self) -> None:
        frames = FrameFilter(0)
        for _ in range(2):
            self.assertEqual(frames.receive_data(HEAD + MORE * 2), (HEAD + MORE * 2, []))
        self.assertEqual(frames.receive_data(MORE[:9]), (b"", [TooLong(MAX_PAYLOAD + 2**12)]))

    def test_a_debug_text_of_a_goaway_is_no_matter(self) -> None:
        frame = b"\x00\x00\x0c\x07\x00\x00\x00\x00\x00" + b"\x80\x00\x00\x05" + b"\x00\x00\x00\x02" + b"text"
        self.assertEqual(FrameFilter(0).receive_data(frame), (b"", [GoAway(5, 2)]))
