"""What the poller does with descriptors that fail, end, or cannot be watched."""

from __future__ import annotations

import os
import socket
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet import error, main

from tests.net.poller_case import Descriptor, HalfCloseable, PollerCase


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

    def half_ended(self) -> Any:
        """Return one that has read its end, and can say whether it is lost."""
        half = self.descriptor(HalfCloseable)
        half.reads = lambda: self.poller.await_loss(half)
        half.broken = lambda: half.log.append("asked")
        half.other.shutdown(socket.SHUT_WR)
        self.poller.doRead()
        self.poller.doRead()
        self.assertEqual(half.log, ["read"])
        return half

    def test_behind_the_end_of_what_is_read_one_that_can_say_so_is_asked_if_it_is_lost(self) -> None:
        half = self.half_ended()
        half.broken = lambda: main.CONNECTION_LOST
        half.sock.shutdown(socket.SHUT_WR)
        self.poller.doRead()
        self.lost(half, error.ConnectionLost)

    def test_one_that_has_ended_both_ways_is_asked_once(self) -> None:
        half = self.half_ended()
        half.sock.shutdown(socket.SHUT_WR)
        for _ in range(3):
            self.poller.doRead()
        self.assertEqual((half.log, self.poller.removeAll()), (["read", "asked"], []))

    def test_an_event_that_tells_an_end_asks_for_no_loss_too(self) -> None:
        half = self.descriptor(HalfCloseable)
        half.reads = lambda: self.poller.await_loss(half)
        half.broken = lambda: half.log.append("asked")
        half.sock.shutdown(socket.SHUT_WR)
        half.other.shutdown(socket.SHUT_WR)
        self.poller.doRead()
        self.assertEqual(half.log, ["read"])

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
