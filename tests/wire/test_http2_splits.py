"""However HTTP/2 arrives, the events are the same; and whatever arrives, the bounds hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from meshtx.wire.http2 import Http2Observer
from meshtx.wire.http2_headers import MAX_TABLE
from meshtx.wire.http_events import MAX_HEAD
from tests.effort import examples
from tests.wire.exchanges import Said, differing, observe, some_cuts
from tests.wire.http2_corpus import BEGIN, CORPUS, GET, OK, frame, headers, setting

BOUND = 2 * (MAX_HEAD + 9 + MAX_HEAD + MAX_TABLE)
"""A frame and a block and a table in each direction."""

sides = st.sampled_from("CS")
frames = st.builds(
    frame,
    st.integers(0, 10),
    st.sampled_from([0, 1, 4, 5, 8, 0x20, 0x2D]),
    st.integers(0, 9),
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from([GET, OK, setting(1, 0), setting(1, 2**32 - 1), b"z" * 30_000, b"\x00\x01a\x7f" + b"q" * 200]),
    ),
)
garbage = st.lists(st.tuples(sides, st.one_of(st.binary(max_size=60), frames)), max_size=12)


class SplitTests(SynchronousTestCase):
    def test_one_and_two_cuts_of_the_corpus_give_the_same_events(self) -> None:
        for exchange, _ in CORPUS.values():
            self.assertIsNone(differing(Http2Observer, exchange))

    @examples(500)
    @given(st.data())
    def test_random_cuts_of_the_corpus_give_the_same_events(self, data: st.DataObject) -> None:
        exchange, events = CORPUS[data.draw(st.sampled_from(sorted(CORPUS)))]
        self.assertEqual(observe(Http2Observer(), data.draw(some_cuts(exchange))), events)

    @examples(500)
    @given(garbage, st.booleans())
    def test_anything_at_all_is_read_without_raising_within_the_bound(self, said: list[Said], begin: bool) -> None:
        observer = Http2Observer()
        for side, data in [*(BEGIN if begin else ()), *said]:
            if side == "C":
                observer.client_data(data)
            else:
                observer.server_data(data)
            self.assertLessEqual(observer.held, BOUND)
        observer.ended(True)

    @examples(500)
    @given(garbage.map(lambda said: [*BEGIN, *said]), st.data())
    def test_random_cuts_of_anything_give_the_same_events(self, said: list[Said], data: st.DataObject) -> None:
        self.assertEqual(observe(Http2Observer(), data.draw(some_cuts(said))), observe(Http2Observer(), said))

    def test_an_unfinished_frame_is_held_up_to_its_bound(self) -> None:
        observer = Http2Observer()
        observer.client_data(BEGIN[0][1] + frame(1, 0, 1, b"x" * MAX_HEAD)[:-1])
        self.assertGreater(observer.held, MAX_HEAD)
        self.assertLess(observer.held, BOUND)
        observer.client_data(headers(3, GET))
        self.assertLess(observer.held, BOUND)
