"""The order of the relay's calls, on transports that record them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from meshtx.net import relay as relay_module
from meshtx.net.relay import RelayEnd, RelayResult, join


class Stream:
    """A transport that records what is asked of it; it loses its connection when told to, or at once."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            self.calls.append((name, *arguments) if arguments else name)

        return call

    def since(self) -> list[Any]:
        """Return the calls since the last time."""
        calls, self.calls = self.calls, []
        return calls


class Frail(Stream):
    """One that is lost by the first write."""

    def __init__(self, end: RelayEnd) -> None:
        super().__init__()
        self._end = end

    def write(self, data: bytes) -> None:
        self.calls.append(("write", data))
        self._end.connectionLost(LOST)


DONE, LOST = Failure(ConnectionDone()), Failure(ConnectionLost())


class OrderTests(SynchronousTestCase):
    """The calls that a relay makes, in their order."""

    def setUp(self) -> None:
        self.lost: list[Failure] = []
        self.results: list[RelayResult] = []
        self.near, self.far = RelayEnd(None, self.lost.append), RelayEnd(None, self.lost.append)
        self.near_stream, self.far_stream = Stream(), Stream()

    def connect(self, end: RelayEnd) -> None:
        end.makeConnection(self.near_stream if end is self.near else self.far_stream)

    def join(self, prefix: bytes = b"") -> None:
        join(self.near, self.far, self.results.append, prefix)

    def both(self, prefix: bytes = b"") -> None:
        self.connect(self.near)
        self.connect(self.far)
        self.join(prefix)

    def calls(self) -> tuple[list[Any], list[Any]]:
        return self.near_stream.since(), self.far_stream.since()

    def start(self, prefix: bytes = b"") -> None:
        """Begin a relay and forget the calls of its beginning."""
        self.both(prefix)
        self.calls()

    def test_an_end_is_paused_until_it_is_joined(self) -> None:
        self.connect(self.near)
        self.connect(self.far)
        self.assertEqual(self.calls(), (["pauseProducing"], ["pauseProducing"]))
        self.join(b"prefix")
        self.assertEqual(
            self.calls(),
            (
                [("registerProducer", self.far, True), "resumeProducing"],
                [("registerProducer", self.near, True), ("write", b"prefix"), "resumeProducing"],
            ),
        )

    def test_the_near_end_waits_unread_for_a_far_end_that_is_being_connected(self) -> None:
        self.connect(self.near)
        self.join(b"prefix")
        self.assertEqual(self.near_stream.since(), ["pauseProducing"])
        self.connect(self.far)
        self.assertIn("resumeProducing", self.near_stream.since())
        self.assertIn(("write", b"prefix"), self.far_stream.since())

    def test_an_end_that_the_other_side_has_filled_is_not_read(self) -> None:
        self.far_stream.write = lambda data: self.near.pauseProducing()  # type: ignore[attr-defined]
        self.both(b"much")
        self.assertEqual(
            self.near_stream.since(), ["pauseProducing", "pauseProducing", ("registerProducer", self.far, True)]
        )
        self.near.resumeProducing()
        self.assertEqual(self.near_stream.since(), ["resumeProducing"])

    def test_an_end_that_is_lost_alone_says_so(self) -> None:
        self.connect(self.near)
        self.near.connectionLost(LOST)
        self.assertEqual(self.lost, [LOST])

    def test_an_end_that_is_lost_in_a_relay_leaves_it_to_the_relay(self) -> None:
        self.start()
        self.near.connectionLost(LOST)
        self.assertEqual(self.lost, [])

    def test_joining_an_end_that_is_lost_aborts_the_other(self) -> None:
        self.connect(self.near)
        self.connect(self.far)
        self.near.connectionLost(LOST)
        self.calls()
        self.join(b"prefix")
        self.assertEqual(self.calls(), ([], ["unregisterProducer", "abortConnection"]))
        self.assertEqual(self.results, [])
        self.far.connectionLost(Failure(ConnectionAborted()))
        self.assertEqual(self.results, [RelayResult(0, 0, LOST.value)])

    def test_a_near_end_that_is_lost_while_the_far_one_is_connecting_ends_the_relay(self) -> None:
        self.connect(self.near)
        self.join(b"prefix")
        self.near.connectionLost(LOST)
        self.assertEqual(self.results, [RelayResult(0, 0, LOST.value)])
        self.connect(self.far)  # too late
        self.assertEqual(self.far_stream.since(), ["pauseProducing", "unregisterProducer", "abortConnection"])
        self.far.connectionLost(Failure(ConnectionAborted()))
        self.assertEqual(len(self.results), 1)

    def test_bytes_and_an_eof_that_come_early_are_passed_on_in_order(self) -> None:
        self.connect(self.near)
        self.near.dataReceived(b"early ")
        self.near.dataReceived(b"bird")
        self.near.readConnectionLost()
        self.join(b"an ")
        self.connect(self.far)
        self.assertEqual(
            self.far_stream.since(),
            [
                "pauseProducing",
                ("registerProducer", self.near, True),
                ("write", b"an early bird"),
                "unregisterProducer",
                "loseWriteConnection",
                "resumeProducing",
            ],
        )
        self.assertNotIn("resumeProducing", self.near_stream.since())
        self.assertEqual(self.near.received, 13)

    def test_an_eof_while_the_far_end_is_connecting_waits_for_it(self) -> None:
        self.connect(self.near)
        self.join(b"all")
        self.near.readConnectionLost()
        self.connect(self.far)
        self.assertEqual(self.far_stream.since()[2:4], [("write", b"all"), "unregisterProducer"])

    def test_both_eofs_early_close_both_sides_with_their_bytes(self) -> None:
        for end in (self.near, self.far):
            self.connect(end)
            end.dataReceived(b"bye")
            end.readConnectionLost()
        self.calls()
        self.join()
        self.assertEqual(
            self.calls(),
            (
                [("registerProducer", self.far, True), ("write", b"bye"), "unregisterProducer", "loseConnection"],
                [("registerProducer", self.near, True), ("write", b"bye"), "unregisterProducer", "loseConnection"],
            ),
        )

    def test_a_transport_that_does_not_pause_is_aborted_past_the_bound(self) -> None:
        self.connect(self.near)
        self.near.dataReceived(bytes(relay_module.MAX_EARLY))
        self.assertEqual(self.near_stream.since(), ["pauseProducing"])
        self.near.dataReceived(b"x")
        self.near.dataReceived(b"x")
        self.assertEqual(self.near_stream.since(), ["abortConnection"])
        self.assertIsNone(self.near._early)

    def test_each_eof_is_passed_on_and_after_the_second_both_sides_close(self) -> None:
        self.start()
        self.near.readConnectionLost()
        self.assertEqual(self.calls(), ([], ["unregisterProducer", "loseWriteConnection"]))
        self.far.writeConnectionLost()
        self.near.pauseProducing()
        self.near.resumeProducing()
        self.assertEqual(self.calls(), ([], []))  # nothing to read any more
        self.far.dataReceived(b"answer")
        self.far.readConnectionLost()
        closing = ["unregisterProducer", "loseConnection"]
        self.assertEqual(self.calls(), ([("write", b"answer"), *closing], closing))
        self.near.readConnectionLost()  # said twice
        self.near.connectionLost(DONE)
        self.assertEqual(self.results, [])
        self.far.connectionLost(DONE)
        self.assertEqual(self.results, [RelayResult(0, 6, None)])
        self.assertEqual(self.calls(), ([], []))

    def test_a_side_that_fails_while_both_close_does_not_cut_what_the_other_still_gets(self) -> None:
        self.start()
        self.near.readConnectionLost()
        self.far.readConnectionLost()
        self.calls()
        self.far.connectionLost(LOST)
        self.assertEqual(self.calls(), ([], []))
        self.near.connectionLost(DONE)
        self.assertEqual(self.results, [RelayResult(0, 0, LOST.value)])

    def test_a_loss_is_passed_on_as_an_abort(self) -> None:
        self.start()
        self.near.dataReceived(b"1")
        self.calls()
        self.far.connectionLost(LOST)
        self.assertEqual(self.calls(), (["unregisterProducer", "abortConnection"], []))
        self.near.dataReceived(b"on its way")  # goes nowhere
        self.near.connectionLost(Failure(ConnectionAborted()))
        self.assertEqual(self.calls(), ([], []))
        self.assertEqual(self.results, [RelayResult(11, 0, LOST.value)])

    def test_a_loss_after_an_eof_is_passed_on_as_an_abort(self) -> None:
        self.start()
        self.far.readConnectionLost()
        self.calls()
        self.far.connectionLost(LOST)
        self.assertEqual(self.calls(), (["unregisterProducer", "abortConnection"], []))

    def test_a_close_in_order_without_an_eof_is_a_cut(self) -> None:
        self.start()
        self.far.connectionLost(DONE)
        self.assertEqual(self.calls(), (["unregisterProducer", "abortConnection"], []))
        self.near.connectionLost(Failure(ConnectionAborted()))
        self.assertEqual(self.results, [RelayResult(0, 0, DONE.value)])

    def test_a_side_that_closes_after_its_eof_has_said_everything(self) -> None:
        self.start()
        self.far.dataReceived(b"answer")
        self.far.readConnectionLost()
        self.calls()
        self.far.connectionLost(DONE)
        self.assertEqual(self.calls(), (["unregisterProducer", "loseConnection"], []))
        self.near.dataReceived(b"nobody is there")
        self.near.connectionLost(DONE)
        self.assertEqual(self.results, [RelayResult(15, 6, None)])

    def test_the_other_transports_own_end_does_not_close_this_one(self) -> None:
        self.start()
        self.near.stopProducing()
        self.assertEqual(self.calls(), ([], []))

    def test_a_side_that_is_lost_by_the_first_bytes_ends_the_relay(self) -> None:
        self.far_stream = Frail(self.far)
        self.both(b"prefix")
        self.assertEqual(self.near_stream.since(), ["pauseProducing", "unregisterProducer", "abortConnection"])
        self.near.connectionLost(Failure(ConnectionAborted()))
        self.assertEqual(self.results, [RelayResult(6, 0, LOST.value)])

    def test_an_end_is_joined_only_once(self) -> None:
        self.both()
        self.assertRaises(ValueError, self.join)
