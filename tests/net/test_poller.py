"""What the poller watches, when it says so, and what it does behind a batch of events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import error, main
from twisted.internet.interfaces import IReactorFDSet
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from meshtx.net import poller as module
from meshtx.net.poller import LONG
from tests.net.poller_case import CountingEpoll, Descriptor, PollerCase


class WatchTests(PollerCase):
    def test_it_is_a_set_of_descriptors_for_twisted(self) -> None:
        verifyObject(IReactorFDSet, self.poller)

    def test_what_is_watched_is_served_and_nothing_else(self) -> None:
        reading, idle = self.descriptor(), self.descriptor()
        writing = Descriptor(self)
        self.poller.addWriter(writing)
        reading.other.send(b"x")
        self.poller.doRead()
        self.assertEqual((reading.log, idle.log, writing.log), (["read"], [], ["write"]))
        self.poller.removeWriter(writing)
        self.poller.removeReader(reading)
        reading.other.send(b"x")
        self.poller.doRead()
        self.assertEqual((reading.log, idle.log, writing.log), (["read"], [], ["write"]))

    def test_one_that_waits_for_both_reads_first(self) -> None:
        both = self.descriptor()
        self.poller.addWriter(both)
        both.other.send(b"x")
        self.poller.doRead()
        self.assertEqual(both.log, ["read", "write"])
        self.poller.removeReader(both)
        both.other.send(b"x")
        self.poller.doRead()
        self.assertEqual(both.log, ["read", "write", "write"])

    def test_it_says_what_it_watches(self) -> None:
        both, writing = self.descriptor(), Descriptor(self)
        self.poller.addWriter(both)
        self.poller.addWriter(writing)
        self.assertEqual((self.poller.getReaders(), self.poller.getWriters()), ([both], [both, writing]))
        self.assertEqual(self.poller.removeAll(), [both, writing])
        self.assertEqual((self.poller.getReaders(), self.poller.getWriters()), ([], []))

    def test_a_batch_has_a_bound(self) -> None:
        self.patch(module, "MOST_EVENTS", 2)
        descriptors = [self.descriptor() for _ in range(3)]
        for each in descriptors:
            each.other.send(b"x")
        self.poller.doRead()
        self.assertEqual(sum(len(each.log) for each in descriptors), 2)
        self.poller.doRead()
        self.assertEqual([each.log for each in descriptors], [["read"]] * 3)


class CutTests(PollerCase):
    """A batch that takes long."""

    def at_once(self, *seconds: float) -> list[Any]:
        """Return descriptors with something to read, each of which takes so long."""
        descriptors = [self.descriptor() for _ in seconds]
        for each, long in zip(descriptors, seconds, strict=True):
            each.reads = lambda each=each, long=long: (each.read(), self.work.advance(long))[0]
            each.other.send(b"x")
        return descriptors

    def logs(self, descriptors: list[Any]) -> list[int]:
        return [len(each.log) for each in descriptors]

    def test_it_is_cut_behind_the_event_that_took_long(self) -> None:
        descriptors = self.at_once(LONG / 2, LONG, 0)
        self.assertTrue(self.poller.poll(0))
        self.assertEqual(self.logs(descriptors), [1, 1, 0])
        self.assertFalse(self.poller.poll(0))
        self.assertEqual(self.logs(descriptors), [1, 1, 1])

    def test_one_that_is_not_too_long_is_not_cut(self) -> None:
        descriptors = self.at_once(LONG / 2, LONG / 2, 0)
        self.assertFalse(self.poller.poll(0))
        self.assertEqual(self.logs(descriptors), [1, 1, 1])

    def test_the_rest_comes_before_anything_new(self) -> None:
        descriptors = self.at_once(LONG * 2, LONG * 2, LONG * 2)
        for _ in descriptors:
            self.poller.poll(0)
            descriptors[0].other.send(b"x")
        self.assertEqual(self.logs(descriptors), [1, 1, 1])

    def test_calls_behind_it_are_cut_as_well_and_made_before_its_other_events(self) -> None:
        log: list[str] = []

        def call(name: str) -> None:
            log.append(name)
            self.work.advance(LONG * 2)

        first, second = self.descriptor(), self.descriptor()
        for each in (first, second):
            each.other.send(b"x")

        def act() -> None:
            first.read()
            self.poller.behind(lambda: call("one"))
            self.poller.behind(lambda: call("two"))
            self.work.advance(LONG * 2)

        first.reads = act
        second.reads = lambda: (second.read(), log.append("event"))[0]
        seen = []
        while self.poller.poll(0):
            seen.append(list(log))
        self.assertEqual((seen, log), ([[], ["one"], ["one", "two"]], ["one", "two", "event"]))

    def test_calls_that_take_long_are_cut_in_a_batch_of_its_own_as_well(self) -> None:
        log: list[str] = []

        def act() -> None:
            descriptor.read()
            for name in ("one", "two"):
                self.poller.behind(lambda name=name: (log.append(name), self.work.advance(LONG * 2)))

        descriptor = self.descriptor()
        descriptor.reads = act
        descriptor.other.send(b"x")
        self.assertTrue(self.poller.poll(0))
        self.assertEqual(log, ["one"])

    def test_a_reactor_around_has_a_whole_turn_before_the_rest(self) -> None:
        descriptors = self.at_once(LONG * 2, 0)
        self.poller.doRead()
        self.assertEqual(self.outer.log, ["joined", "left"])
        self.outer.turn()
        self.assertEqual((self.logs(descriptors), self.outer.log), ([1, 0], ["joined", "left"]))
        self.outer.turn()
        self.assertEqual((self.logs(descriptors), self.outer.log), ([1, 1], ["joined", "left", "joined"]))

    def test_what_is_watched_meanwhile_does_not_bring_it_back_earlier(self) -> None:
        self.at_once(LONG * 2, 0)
        self.poller.doRead()
        self.descriptor()
        self.assertEqual(self.outer.log, ["joined", "left"])


class NestingTests(PollerCase):
    def test_it_is_a_reader_of_the_reactor_while_there_is_something_to_watch(self) -> None:
        self.assertEqual(self.outer.log, [])
        descriptor = self.descriptor()
        self.poller.addWriter(descriptor)
        self.assertEqual(self.outer.log, ["joined"])
        self.poller.removeReader(descriptor)
        self.assertEqual(self.outer.log, ["joined"])
        self.poller.removeWriter(descriptor)
        self.assertEqual(self.outer.log, ["joined", "left"])

    def test_it_leaves_behind_the_batch_in_which_the_last_one_went(self) -> None:
        descriptor = self.descriptor()
        descriptor.reads = lambda: self.poller.removeReader(descriptor)
        descriptor.other.send(b"x")
        self.poller.doRead()
        self.assertEqual(self.outer.log, ["joined", "left"])

    def test_it_does_not_leave_for_a_moment(self) -> None:
        descriptor = self.descriptor()

        def stutter() -> None:
            self.poller.removeReader(descriptor)
            self.poller.addReader(descriptor)

        descriptor.reads = stutter
        descriptor.other.send(b"x")
        self.poller.doRead()
        self.assertEqual(self.outer.log, ["joined"])

    def test_the_reactor_s_end_is_everybody_s(self) -> None:
        class Broken(Descriptor):
            def connectionLost(self, reason: Failure) -> None:
                raise ZeroDivisionError

        self.descriptor(Broken)
        second, third = self.descriptor(), self.descriptor()
        self.poller.connectionLost(Failure(main.CONNECTION_LOST))
        for each in (second, third):
            assert each.lost is not None
            self.assertIsInstance(each.lost.value, error.ConnectionLost)
        self.assertIsNot(second.lost, third.lost)
        self.assertEqual((self.poller.removeAll(), self.outer.log), ([], ["joined", "left"]))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_what_else_is_asked_of_it_is_asked_of_the_reactor(self) -> None:
        self.assertEqual(self.poller.getDelayedCalls(), [])
        self.poller.callLater(1, self.outer.log.append, "called")
        self.outer.advance(1)
        self.assertEqual((self.outer.log, self.poller.seconds(), self.poller.logPrefix()), (["called"], 1.0, "meshtx"))


class TellingTests(PollerCase):
    """What the kernel is told, and when."""

    def setUp(self) -> None:
        super().setUp()
        self.epoll = CountingEpoll()
        self.poller._epoll = self.epoll  # type: ignore[assignment]

    def in_a_batch(self, act: Callable[[Any], None]) -> tuple[Any, list[str]]:
        """Let a descriptor act while it is served; return it, and what the kernel was told by that."""
        descriptor = self.descriptor()
        descriptor.reads = lambda: act(descriptor.read() or descriptor)
        descriptor.other.send(b"x")
        self.epoll.told.clear()
        self.poller.doRead()
        return descriptor, self.epoll.told

    def test_what_is_asked_for_in_a_batch_is_told_behind_it(self) -> None:
        def ask(descriptor: object) -> None:
            self.poller.addWriter(descriptor)
            self.assertEqual(self.epoll.told, [])

        descriptor, told = self.in_a_batch(ask)
        self.assertEqual(told, ["modify"])
        self.poller.doRead()
        self.assertIn("write", descriptor.log)

    def test_what_is_taken_back_in_the_same_batch_is_not_told(self) -> None:
        def ask_and_take_back(descriptor: object) -> None:
            self.poller.addWriter(descriptor)
            self.poller.removeWriter(descriptor)

        self.assertEqual(self.in_a_batch(ask_and_take_back)[1], [])

    def test_what_is_given_up_is_told_at_once(self) -> None:
        def give_up(descriptor: object) -> None:
            self.poller.removeReader(descriptor)
            self.assertEqual(self.epoll.told, ["unregister"])

        self.assertEqual(self.in_a_batch(give_up)[1], ["unregister"])

    def test_a_pause_in_a_batch_is_told_behind_it_and_not_at_all_if_it_is_over_by_then(self) -> None:
        def stutter(descriptor: object) -> None:
            self.poller.pause(descriptor)
            self.poller.addReader(descriptor)

        def pause(descriptor: object) -> None:
            self.poller.pause(descriptor)
            self.assertEqual(self.epoll.told, [])

        self.assertEqual(self.in_a_batch(stutter)[1], [])
        descriptor, told = self.in_a_batch(pause)
        self.assertEqual(told, ["unregister"])
        descriptor.other.send(b"x")
        self.poller.doRead()
        self.assertEqual(descriptor.log, ["read"])
        self.poller.addReader(descriptor)
        self.assertEqual(self.epoll.told, ["unregister", "register"])

    def test_one_that_paused_is_watched_until_it_is_forgotten(self) -> None:
        descriptor = self.descriptor()
        self.poller.pause(descriptor)
        self.assertEqual((self.poller.getReaders(), self.outer.log), ([], ["joined"]))
        self.poller.forget(Descriptor(self))
        self.assertEqual(self.poller.removeAll(), [descriptor])
        self.poller.forget(descriptor)
        self.poller.removeReader(descriptor)
        self.assertEqual((self.poller.removeAll(), self.outer.log), ([], ["joined", "left"]))

    def test_what_is_known_is_not_told_again(self) -> None:
        descriptor = self.descriptor()
        self.poller.addReader(descriptor)
        self.poller.removeWriter(descriptor)
        self.assertEqual(self.epoll.told, ["register"])


class BehindTests(PollerCase):
    """What is done behind a batch, without waiting for events."""

    def in_a_batch(self, act: Callable[[], object]) -> None:
        descriptor = self.descriptor()
        descriptor.reads = lambda: (descriptor.read(), act(), None)[-1]
        descriptor.other.send(b"x")
        self.poller.doRead()

    def test_it_comes_behind_the_events_and_what_it_asks_for_behind_it(self) -> None:
        log: list[str] = []

        def first() -> None:
            log.append("first")
            self.poller.behind(lambda: log.append("third"))

        def act() -> None:
            self.poller.behind(first)
            self.poller.behind(lambda: log.append("second"))
            log.append("event")

        self.in_a_batch(act)
        self.assertEqual(log, ["event", "first", "second", "third"])

    def test_outside_a_batch_it_comes_in_a_later_turn(self) -> None:
        log: list[str] = []
        self.poller.behind(lambda: log.append("behind"))
        self.assertEqual(log, [])
        self.outer.advance(0)
        self.assertEqual(log, ["behind"])

    def test_one_that_fails_is_logged_and_the_next_is_called(self) -> None:
        for raised in (ZeroDivisionError, SystemExit):
            log: list[str] = []

            def fail(raised: type[BaseException] = raised) -> None:
                raise raised

            def act(fail: Callable[[], None] = fail, log: list[str] = log) -> None:
                self.poller.behind(fail)
                self.poller.behind(lambda: log.append("next"))

            self.in_a_batch(act)
            self.assertEqual((log, len(self.flushLoggedErrors(raised))), (["next"], 1))

    def test_reading_is_tried_if_it_is_still_wanted(self) -> None:
        reading, paused, gone = self.descriptor(), self.descriptor(), self.descriptor()
        for each in (reading, paused, gone):
            each.reads = lambda: None

        def act() -> None:
            self.poller.pause(paused)
            self.poller.forget(gone)
            for each in (reading, paused, gone):
                self.poller.try_reading(each)

        self.in_a_batch(act)
        self.assertEqual((reading.log, paused.log, gone.log), (["read"], [], []))
