"""The connections that are being served, and the ends that the proxy joins."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from meshtx.proxy.ends import End, Live


class Held:
    """Something that ends."""

    def __init__(self, abort: Callable[[], object]) -> None:
        self.abort = abort


class LiveTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.live = Live()
        self.aborted: list[str] = []

    def hold(self, name: str) -> Held:
        held = Held(lambda: self.aborted.append(name))
        self.live.hold(held)
        return held

    def test_nothing_is_empty_at_once(self) -> None:
        self.assertEqual(len(self.live), 0)
        self.assertIsNone(self.successResultOf(self.live.empty()))

    def test_it_is_empty_with_the_last_one(self) -> None:
        one, two = self.hold("one"), self.hold("two")
        waiting = [self.live.empty(), self.live.empty()]
        self.live.release(one)
        self.assertEqual(len(self.live), 1)
        self.assertNoResult(waiting[0])
        self.live.release(two)
        self.assertEqual([self.successResultOf(each) for each in waiting], [None, None])

    def test_a_release_counts_once(self) -> None:
        one, _two = self.hold("one"), self.hold("two")
        self.live.release(one)
        self.live.release(one)
        self.assertEqual(len(self.live), 1)

    def test_an_abort_reaches_all_even_if_they_let_go_at_once(self) -> None:
        one = Held(lambda: (self.aborted.append("one"), self.live.release(one)))
        self.live.hold(one)
        self.hold("two")
        self.live.abort()
        self.assertEqual((self.aborted, len(self.live)), (["one", "two"], 1))

    def test_who_gave_up_waiting_is_not_called(self) -> None:
        one = self.hold("one")
        waiting = self.live.empty()
        waiting.cancel()
        self.failureResultOf(waiting)
        self.live.release(one)
        self.assertEqual(len(self.live), 0)


class Unread(StringTransport):
    """A transport that may be paused."""


class EndTests(SynchronousTestCase):
    def test_the_greeting_goes_out_first_and_nothing_is_read(self) -> None:
        end, transport = End(b"hello"), Unread()
        end.makeConnection(transport)
        self.assertEqual((transport.value(), transport.producerState), (b"hello", "paused"))
        self.assertIsNone(self.successResultOf(end.made))

    def test_a_loss_before_the_join_is_told_once(self) -> None:
        end, gone = End(), []
        end.gone = lambda: gone.append(1)
        end.makeConnection(Unread())
        end.connectionLost(Failure(ConnectionError()))
        self.assertEqual((gone, end.gone), ([1], None))

    def test_a_loss_that_nobody_waits_for(self) -> None:
        end = End()
        end.makeConnection(Unread())
        end.connectionLost()
        self.assertIsNone(end.gone)
