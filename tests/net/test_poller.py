"""The poller by itself: descriptors of socket pairs, and a reactor that only keeps what it is asked."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet import error, main
from twisted.internet.interfaces import IHalfCloseableDescriptor, IReactorFDSet
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from meshtx.net import poller as module
from meshtx.net.poller import Poller


class Outer(Clock):
    """The reactor around: says whether the poller is one of its readers."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []

    def addReader(self, reader: object) -> None:
        self.log.append("joined")

    def removeReader(self, reader: object) -> None:
        self.log.append("left")


class Descriptor:
    """One end of a socket pair; says what is done to it."""

    def __init__(self, case: PollerCase) -> None:
        self.sock, self.other = socket.socketpair()
        self.sock.setblocking(False)
        case.addCleanup(self.sock.close)
        case.addCleanup(self.other.close)
        self.log: list[str] = []
        self.lost: Failure | None = None
        self.reads: Callable[[], Any] = self.read
        self.writes: Callable[[], Any] = lambda: None

    def read(self) -> None:
        self.sock.recv(100)

    def fileno(self) -> int:
        return self.sock.fileno()

    def doRead(self) -> object:
        self.log.append("read")
        return self.reads()

    def doWrite(self) -> object:
        self.log.append("write")
        return self.writes()

    def connectionLost(self, reason: Failure) -> None:
        self.log.append("lost")
        self.lost = reason


@implementer(IHalfCloseableDescriptor)
class HalfCloseable(Descriptor):
    def readConnectionLost(self, reason: Failure) -> None:
        self.log.append("read lost")

    def writeConnectionLost(self, reason: Failure) -> None:
        self.log.append("write lost")


class CountingEpoll:
    """An epoll, and what the kernel was told by it."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self.told: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name != "poll":
            self.told.append(name)
        return getattr(self._epoll, name)


class PollerCase(SynchronousTestCase):
    skip = None if module.HAS_EPOLL else "needs epoll"

    def setUp(self) -> None:
        self.outer = Outer()
        self.poller = Poller(self.outer)

    def descriptor(self, kind: type[Descriptor] = Descriptor) -> Any:
        """Return one that is watched for reading."""
        descriptor = kind(self)
        self.poller.addReader(descriptor)
        return descriptor


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

    def test_what_is_known_is_not_told_again(self) -> None:
        descriptor = self.descriptor()
        self.poller.addReader(descriptor)
        self.poller.removeWriter(descriptor)
        self.assertEqual(self.epoll.told, ["register"])


class LossTests(PollerCase):
    def lost(self, descriptor: Any, why: type[BaseException]) -> None:
        assert descriptor.lost is not None
        self.assertIsInstance(descriptor.lost.value, why)

    def test_a_failure_is_logged_and_ends_that_one_alone(self) -> None:
        for raised in (ZeroDivisionError, SystemExit):
            broken, whole = self.descriptor(), self.descriptor()
            broken.reads = lambda raised=raised: (_ for _ in ()).throw(raised)
            for each in (broken, whole):
                each.other.send(b"x")
            self.poller.doRead()
            self.lost(broken, raised)
            self.assertEqual((broken.log, whole.log), (["read", "lost"], ["read"]))
            self.assertEqual(len(self.flushLoggedErrors(raised)), 1)
            self.assertEqual(self.poller.removeAll(), [whole])

    def test_an_end_of_what_is_read_is_half_of_it_for_those_who_know_halves(self) -> None:
        half, plain = self.descriptor(HalfCloseable), self.descriptor()
        for each in (half, plain):
            each.reads = lambda: main.CONNECTION_DONE
            each.other.close()
        self.poller.doRead()
        self.lost(plain, error.ConnectionDone)
        self.assertEqual((half.log, plain.log), (["read", "read lost"], ["read", "lost"]))
        self.assertEqual(self.poller.getReaders(), [])

    def test_an_end_of_what_is_written_is_the_whole(self) -> None:
        half = self.descriptor(HalfCloseable)
        self.poller.addWriter(half)
        half.writes = lambda: main.CONNECTION_DONE
        self.poller.doRead()
        self.lost(half, error.ConnectionDone)
        self.assertEqual((half.log, self.poller.removeAll()), (["write", "lost"], []))

    def test_each_loss_has_a_reason_of_its_own(self) -> None:
        lost = [self.descriptor(), self.descriptor()]
        for each in lost:
            each.reads = lambda: main.CONNECTION_LOST
            each.other.send(b"x")
        self.poller.doRead()
        first, second = (each.lost for each in lost)
        assert first is not None
        assert second is not None
        self.assertEqual(
            len({id(first), id(second)} | {id(first.value), id(second.value), id(main.CONNECTION_LOST)}), 5
        )

    def test_one_may_close_another_of_the_same_batch(self) -> None:
        one, other = self.descriptor(), self.descriptor()

        def close(descriptor: Any) -> None:
            self.poller.removeReader(descriptor)
            descriptor.sock.close()

        one.reads, other.reads = (lambda: close(other)), (lambda: close(one))
        for each in (one, other):
            each.other.send(b"x")
        self.poller.doRead()
        self.assertEqual(sorted(one.log + other.log), ["read"])

    def test_a_hang_up_of_a_descriptor_that_is_another_s_by_now_is_no_loss(self) -> None:
        one, other = self.descriptor(), self.descriptor()
        new = Descriptor(self)

        def replace(old: Any) -> None:
            """Close it, and let a new connection have its number."""
            self.poller.removeReader(old)
            self.poller.removeReader(one if old is other else other)
            number = old.sock.detach()
            os.close(number)
            os.dup2(new.sock.fileno(), number)
            new.sock.close()
            new.sock = socket.socket(fileno=number)
            self.addCleanup(new.sock.close)
            self.poller.addReader(new)

        new.reads = lambda: None  # as a socket says on which nothing is to be read
        one.reads, other.reads = (lambda: replace(other)), (lambda: replace(one))
        for each in (one, other):
            each.other.close()
        self.poller.doRead()
        self.assertIsNone(new.lost)
        new.log.clear()
        new.reads = new.read
        new.other.send(b"x")
        self.poller.doRead()
        self.assertEqual(new.log, ["read"])

    def test_one_that_was_closed_before_it_was_given_up_is_forgotten(self) -> None:
        descriptor = self.descriptor()
        descriptor.sock.close()
        self.poller.removeReader(descriptor)
        self.assertEqual((self.poller.removeAll(), self.outer.log), ([], ["joined", "left"]))

    def test_one_without_a_descriptor_is_refused(self) -> None:
        descriptor = Descriptor(self)
        descriptor.sock.close()
        self.assertRaises(ValueError, self.poller.addReader, descriptor)
        self.assertEqual(self.poller.removeAll(), [])

    def test_one_that_the_kernel_cannot_watch_is_refused(self) -> None:
        file = Descriptor(self)
        with Path(__file__).open() as opened:
            file.fileno = opened.fileno  # type: ignore[method-assign]
            self.assertRaises(PermissionError, self.poller.addReader, file)
        self.assertEqual(self.poller.removeAll(), [])

    def test_one_that_the_kernel_cannot_watch_is_lost_behind_the_batch_and_no_other_with_it(self) -> None:
        def ask(other: Any) -> None:
            other.read()
            self.poller.addReader(file)
            self.poller.addWriter(other)

        file, others = Descriptor(self), [self.descriptor() for _ in range(3)]
        with Path(__file__).open() as opened:
            file.fileno = opened.fileno  # type: ignore[method-assign]
            for each in others:
                each.reads = partial(ask, each)
                each.other.send(b"x")
            self.poller.doRead()
        self.lost(file, PermissionError)
        self.poller.doRead()
        self.assertEqual([each.log[-1] for each in others], ["write"] * 3)
