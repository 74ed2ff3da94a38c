"""Bodies of answers: bounds, lines, and silence."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseDone

from meshtx.kube.http_body import Body, BodyError, Lines, Whole

DONE = Failure(ResponseDone())


class TestLines(SynchronousTestCase):
    def setUp(self) -> None:
        self.found: list[bytes] = []
        self.lines = Lines(self.found.append, limit=8)

    @given(st.lists(st.binary(max_size=8).map(lambda line: line.replace(b"\n", b"")), max_size=6), st.data())
    def test_every_split_gives_the_same_lines(self, wanted: list[bytes], draw: st.DataObject) -> None:
        data = b"".join(line + b"\n" for line in wanted)
        cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=8)))
        self.found.clear()
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            self.lines.receive(data[start:end])
        self.lines.finish()
        self.assertEqual(self.found, [line for line in wanted if line])

    def test_an_end_within_a_line_is_an_error(self) -> None:
        self.lines.receive(b"one\ntwo")
        self.assertEqual(self.found, [b"one"])
        with self.assertRaises(BodyError):
            self.lines.finish()

    def test_a_line_is_bounded_and_what_came_before_it_is_not_lost(self) -> None:
        self.lines.receive(b"12345678\nabcde")
        with self.assertRaises(BodyError):
            self.lines.receive(b"one\nfghijklmn")
        self.assertEqual(self.found, [b"12345678", b"abcdeone"])
        lines = Lines(self.found.append, limit=8)
        with self.assertRaises(BodyError):
            lines.receive(b"123456789")


class TestWhole(SynchronousTestCase):
    def test_a_body_is_bounded(self) -> None:
        whole = Whole(8)
        whole.receive(b"1234")
        whole.receive(b"5678")
        self.assertEqual(whole.take(), b"12345678")
        with self.assertRaises(BodyError):
            whole.receive(b"9")


class TestBody(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.aborted = 0
        self.found: list[bytes] = []
        self.body = Body(self.found.append, self.clock, self.abort, silence=330.0)
        self.body.makeConnection(StringTransport())
        self.addCleanup(lambda: self.assertEqual(self.clock.getDelayedCalls(), []))

    def abort(self) -> None:
        self.aborted += 1

    def end(self, reason: Failure = DONE) -> None:
        self.body.connectionLost(reason)

    def test_silence_is_the_end(self) -> None:
        self.clock.advance(329)
        self.body.dataReceived(b"x")
        self.clock.advance(329)
        self.assertNoResult(self.body.done)
        self.clock.advance(1)
        self.assertEqual(str(self.failureResultOf(self.body.done, BodyError).value), "no byte for 330 s")
        self.assertEqual(self.aborted, 1)
        self.end(Failure(ConnectionLost()))

    def test_its_end_is_told_as_it_was(self) -> None:
        self.body.dataReceived(b"x")
        self.end()
        self.assertEqual((self.successResultOf(self.body.done), self.found, self.aborted), (None, [b"x"], 0))

    def test_a_cut_is_an_error(self) -> None:
        self.end(Failure(ConnectionLost()))
        self.failureResultOf(self.body.done, ConnectionLost)

    def test_who_cancels_it_aborts_it(self) -> None:
        self.body.done.cancel()
        self.failureResultOf(self.body.done, CancelledError)
        self.assertEqual(self.aborted, 1)
        self.body.dataReceived(b"late")
        self.end(Failure(ConnectionLost()))
        self.assertEqual(self.found, [])

    def test_what_the_receiver_raises_is_how_it_ends(self) -> None:
        body = Body(Whole(1).receive, self.clock, self.abort)
        body.dataReceived(b"12")
        self.failureResultOf(body.done, BodyError)
        self.assertEqual(self.aborted, 1)
        self.end()

    def test_a_defect_of_the_receiver_is_logged_too(self) -> None:
        body = Body(lambda data: data[9], self.clock, self.abort)  # type: ignore[arg-type, return-value]
        body.dataReceived(b"12")
        self.failureResultOf(body.done, IndexError)
        self.assertEqual(len(self.flushLoggedErrors(IndexError)), 1)
        self.end()
