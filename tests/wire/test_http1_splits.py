"""However HTTP/1 arrives, the events are the same; and whatever arrives, the bounds hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from meshtx.wire.http1 import MAX_UNCLEAR, Http1Observer
from meshtx.wire.http_events import MAX_HEAD
from tests.effort import examples
from tests.wire.exchanges import Said, differing, observe, some_cuts
from tests.wire.http1_corpus import CORPUS

BOUND = 2 * (MAX_HEAD + 4) + MAX_UNCLEAR

WORDS = [
    b"GET / HTTP/1.1\r\n",
    b"CONNECT a:1 HTTP/1.1\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 101 Up\r\n",
    b"HTTP/1.1 100 Go\r\n",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Upgrade: x\r\n",
    b"Connection: Upgrade\r\n",
    b"Host: a\r\n",
    b"\r\n",
    b"3\r\nabc\r\n",
    b"0\r\n\r\n",
    b"\r",
    b"\n",
    b"abc",
    b"y" * 40_000,
]
sides = st.sampled_from("CS")
garbage = st.lists(st.tuples(sides, st.one_of(st.binary(max_size=60), st.sampled_from(WORDS))), max_size=12)


class SplitTests(SynchronousTestCase):
    def test_one_and_two_cuts_of_the_corpus_give_the_same_events(self) -> None:
        for exchange, _ in CORPUS.values():
            self.assertIsNone(differing(Http1Observer, exchange))

    @examples(500)
    @given(st.data())
    def test_random_cuts_of_the_corpus_give_the_same_events(self, data: st.DataObject) -> None:
        exchange, events = CORPUS[data.draw(st.sampled_from(sorted(CORPUS)))]
        self.assertEqual(observe(Http1Observer(), data.draw(some_cuts(exchange))), events)

    @examples(500)
    @given(garbage)
    def test_anything_at_all_is_read_without_raising_within_the_bound(self, said: list[Said]) -> None:
        observer = Http1Observer()
        for side, data in said:
            if side == "C":
                observer.client_data(data)
            else:
                observer.server_data(data)
            self.assertLessEqual(observer.held, BOUND)
        observer.ended(True)
        self.assertEqual(observer.held, 0)

    @examples(500)
    @given(st.data())
    def test_random_cuts_of_anything_give_the_same_events(self, data: st.DataObject) -> None:
        said = data.draw(garbage)
        cut = data.draw(some_cuts(said)) if said else []
        self.assertEqual(observe(Http1Observer(), cut), observe(Http1Observer(), said))
