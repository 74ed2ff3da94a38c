"""Delayed calls come when they were to come, though somebody sets the clock back."""

from __future__ import annotations

from functools import partial

from twisted.internet.base import ReactorBase
from twisted.trial.unittest import SynchronousTestCase

from meshtx.services.set_clock import outlive_set_clocks


class _Reactor(ReactorBase):
    """Makes delayed calls when it is told to, and nothing else."""

    def installWaker(self) -> None:
        """Nobody waits."""

    def removeAll(self) -> list[object]:
        """Nothing is watched."""
        return []


class SetClockTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.monotonic, self.ahead = 50.0, 1e9
        self.reactor = _Reactor()
        self.reactor.seconds = lambda: self.monotonic + self.ahead  # type: ignore[method-assign]  # as Twisted's are
        outlive_set_clocks(self.reactor, lambda: self.monotonic + self.ahead, lambda: self.monotonic)
        self.made: list[float] = []

    def call(self, *delays: float) -> None:
        for delay in delays:
            self.reactor.callLater(delay, partial(self.made.append, delay))

    def at(self, seconds: float) -> list[float]:
        """Return which calls the reactor has made by so many seconds after the start."""
        self.monotonic = 50.0 + seconds
        self.reactor.runUntilCurrent()
        self.reactor.timeout()
        self.reactor.runUntilCurrent()
        return self.made

    def test_from_the_start_nothing_is_moved(self) -> None:
        reactor = _Reactor()
        reactor.seconds = lambda: self.monotonic + self.ahead  # type: ignore[method-assign]  # as Twisted's are
        reactor.callLater(10.0, int)
        outlive_set_clocks(reactor, lambda: self.monotonic + self.ahead, lambda: self.monotonic)
        self.assertEqual(reactor.timeout(), 10.0)

    def test_what_waits_comes_in_time(self) -> None:
        self.call(30.0, 10.0, 20.0)
        self.assertEqual(self.at(5), [])
        self.call(6.0)
        self.ahead -= 7200
        self.assertEqual(self.at(9), [])
        self.assertEqual(self.reactor.timeout(), 1.0)
        self.call(4.0)
        self.assertEqual(self.at(13), [10.0, 6.0, 4.0])
        self.assertEqual(self.at(30), [10.0, 6.0, 4.0, 20.0, 30.0])

    def test_it_may_be_set_back_again_and_again(self) -> None:
        self.call(10.0)
        for second in range(1, 10):
            self.ahead -= 3600
            self.assertEqual(self.at(second), [])
        self.assertEqual(self.at(10), [10.0])

    def test_what_is_made_before_it_is_seen_comes_in_time_too(self) -> None:
        """As most is: the reactor waits when the clock is set, and looks behind what it was woken for."""
        self.call(20.0)
        self.assertEqual(self.at(5), [])
        self.ahead -= 7200
        self.call(10.0)
        self.assertEqual(self.at(5), [])
        self.assertEqual(self.at(15), [10.0])
        self.assertEqual(self.at(20), [10.0, 20.0])

    def test_one_that_is_set_forward_moves_nothing(self) -> None:
        """A machine that has slept looks at once at what is due."""
        self.call(100.0)
        self.ahead += 100
        self.assertEqual(self.at(0), [100.0])

    def test_set_forward_and_back_again_comes_in_time(self) -> None:
        self.call(7210.0)
        self.ahead += 7200
        self.assertEqual(self.at(1), [])
        self.ahead -= 7200
        self.assertEqual(self.at(9), [])
        self.assertEqual(self.at(10), [7210.0])

    def test_one_that_is_slowed_down_moves_nothing(self) -> None:
        self.call(10.0)
        self.ahead -= 0.5
        self.assertEqual(self.at(10), [])
        self.assertEqual(self.at(10.5), [10.0])
