"""The poller by itself: descriptors of socket pairs, and a reactor that only keeps what it is asked."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IHalfCloseableDescriptor
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

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

    def turn(self) -> None:
        """Run the calls that there are; those that they ask for are the next turn's (unlike `advance`)."""
        for call in self.getDelayedCalls():
            func, args, keywords = call.func, call.args, call.kw
            call.cancel()
            func(*args, **keywords)


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
        self.work = Clock()  # what the time says that events and calls take
        self.poller = Poller(self.outer, self.work.seconds)

    def descriptor(self, kind: type[Descriptor] = Descriptor) -> Any:
        """Return one that is watched for reading."""
        descriptor = kind(self)
        self.poller.addReader(descriptor)
        return descriptor
