from __future__ import annotations

from h2.errors import ErrorCodes
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from meshtx.rpc.frame_filter import (
    HEADER,
    MAX_PAYLOAD,
    MAX_SETTINGS,
    Batch,
    FrameFilter,
    GoAway,
    TooLong,
    encode_goaway,
)
from meshtx.rpc.work_queue import SLICE
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


NO_BOUND = 10**9


def feed(pieces: list[bytes] | tuple[bytes, ...], preface: int = len(PREFACE)) -> tuple[bytes, list[GoAway | TooLong]]:
    """Return all that comes of the pieces."""
    frames = FrameFilter(preface)
    batches = []
    for piece in pieces:
        frames.feed(piece)
        batches.append(frames.take(NO_BOUND))
    return b"".join(batch.passed for batch in batches), [each for batch in batches for each in batch.found]


def frame(kind: int, payload: bytes = b"", stream_id: int = 1) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, 0]) + stream_id.to_bytes(4, "big") + payload


def weigh(data: bytes) -> Batch:
    frames = FrameFilter(0)
    frames.feed(data)
    return frames.take(NO_BOUND)


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
            frames.feed(piece)
            frames.take(NO_BOUND)
            self.assertLessEqual(len(frames._held), HEADER + MAX_PAYLOAD)

    def test_a_header_block_may_be_as_long_as_a_frame(self) -> None:
        blocks = (HEAD + MORE * 2) * 2
        self.assertEqual(feed([blocks], 0), (blocks, []))
        self.assertEqual(feed([blocks, MORE[:9]], 0), (blocks, [TooLong(MAX_PAYLOAD + 2**12)]))

    def test_settings_have_no_more_than_a_few_entries(self) -> None:
        most = frame(4, bytes(MAX_SETTINGS), 0)
        self.assertEqual(feed([most], 0), (most, []))
        refused = TooLong(MAX_SETTINGS + 6, MAX_SETTINGS)
        self.assertEqual(feed([frame(4, bytes(MAX_SETTINGS + 6), 0)[:9]], 0), (b"", [refused]))
        self.assertEqual(refused.code, ErrorCodes.ENHANCE_YOUR_CALM)
        self.assertEqual(TooLong(MAX_PAYLOAD + 1).code, ErrorCodes.FRAME_SIZE_ERROR)

    def test_a_debug_text_of_a_goaway_is_no_matter(self) -> None:
        goaway = frame(7, b"\x80\x00\x00\x05" + b"\x00\x00\x00\x02" + b"text", 0)
        self.assertEqual(feed([goaway], 0), (b"", [GoAway(5, 2)]))

    def test_an_unfinished_frame_is_not_passed(self) -> None:
        self.assertEqual(feed([PING + HEAD[:-1]], 0), (PING, []))


class Budgets(SynchronousTestCase):
    def test_each_take_covers_the_budget_and_nothing_is_lost(self) -> None:
        data = PREFACE + (PING * 10 + HEAD + EMPTY) * 10
        frames = FrameFilter(len(PREFACE))
        frames.feed(data)
        batches = [frames.take(100)]
        while frames.waiting:
            batches.append(frames.take(100))
        self.assertEqual(b"".join(batch.passed for batch in batches), data)
        self.assertGreater(len(batches), 20)
        most = weigh(HEAD).cost
        for batch in batches:
            self.assertLess(batch.cost, 100 + most)

    def test_what_waits_comes_before_what_is_fed_later(self) -> None:
        frames = FrameFilter(0)
        frames.feed(HEAD + PING)
        self.assertEqual((frames.take(1).passed, frames.waiting), (HEAD, True))
        frames.feed(EMPTY)
        self.assertEqual((frames.take(NO_BOUND).passed, frames.waiting), (PING + EMPTY, False))

    def test_no_frame_costs_more_than_two_slices_and_a_half(self) -> None:
        for kind in range(12):
            longest = frame(kind, bytes(MAX_SETTINGS if kind == 4 else MAX_PAYLOAD))
            self.assertLess(weigh(longest).cost, 2.5 * SLICE)
            self.assertGreater(weigh(frame(kind, bytes(8))).cost, 0)

    def test_frames_that_are_no_part_of_a_call_are_counted(self) -> None:
        counted = {kind: weigh(frame(kind, bytes(8))).unpaid for kind in range(12)}
        self.assertEqual(counted, {0: 0, 1: 0, **dict.fromkeys(range(2, 12), 1)})

    def test_long_header_blocks_are_counted_by_their_length(self) -> None:
        self.assertEqual(weigh(frame(1, bytes(2**12))).unpaid, 0)
        self.assertEqual(weigh(frame(1, bytes(2**13))).unpaid, 16)

    def test_data_frames_are_counted(self) -> None:
        self.assertEqual(weigh(EMPTY * 3 + PING).data, 3)
