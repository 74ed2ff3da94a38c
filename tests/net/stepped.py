"""A reactor for tests that step: its clock moves when they say so, its descriptors are real."""

from __future__ import annotations

import select
from typing import Any

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor, IWriteDescriptor
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(IReactorFDSet)
class SteppedReactor(Clock):
    """Time passes by `advance` alone, and what has happened to sockets is heard of by `turn` alone."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[IReadDescriptor] = set()
        self.writers: set[IWriteDescriptor] = set()

    def turn(self) -> None:
        """Do what is due now, then tell each descriptor once what the kernel says of it."""
        self.advance(0)
        readable, writable, _ = select.select(list(self.readers), list(self.writers), [], 0)
        for reader in readable:
            if reader in self.readers:  # not closed by one before it
                self._do(reader, reader.doRead)
        for writer in writable:
            if writer in self.writers:
                self._do(writer, writer.doWrite)

    def _do(self, descriptor: Any, act: Any) -> None:  # Any: a descriptor of either kind
        reason = act()
        if reason:
            self.removeReader(descriptor)
            self.removeWriter(descriptor)
            descriptor.connectionLost(Failure(reason))

    def addReader(self, reader: IReadDescriptor) -> None:
        self.readers.add(reader)

    def addWriter(self, writer: IWriteDescriptor) -> None:
        self.writers.add(writer)

    def removeReader(self, reader: IReadDescriptor) -> None:
        self.readers.discard(reader)

    def removeWriter(self, writer: IWriteDescriptor) -> None:
        self.writers.discard(writer)

    def removeAll(self) -> list[Any]:  # Any: descriptors of either kind
        gone = [*{*self.readers, *self.writers}]
        self.readers.clear()
        self.writers.clear()
        return gone

    def getReaders(self) -> list[IReadDescriptor]:
        return list(self.readers)

    def getWriters(self) -> list[IWriteDescriptor]:
        return list(self.writers)
