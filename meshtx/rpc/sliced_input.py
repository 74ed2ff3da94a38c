"""The receiving half of an HTTP/2 connection: whole frames, a slice at a time, the connections of a server in turn."""

from __future__ import annotations

from typing import cast

from twisted.internet.interfaces import IPushProducer, ITCPTransport
from twisted.internet.protocol import Protocol
from twisted.logger import Logger

from meshtx.rpc.frame_filter import Batch, FrameFilter
from meshtx.rpc.work_queue import SLICE, WorkQueue


class SlicedInput(Protocol):
    """Nothing is read from the transport while input waits here, so no more waits than one read brought.

    A subclass implements `process` and `crashed`, and sets `closing`: no input is processed from then on.

    :param preface: bytes before the first frame.
    :param work: shared with the other connections of a server.
    """

    log = Logger()
    transport: ITCPTransport

    def __init__(self, preface: int, work: WorkQueue) -> None:
        self.closing = False
        """Whether the connection was closed, by us or by the peer."""
        self._filter = FrameFilter(preface)
        self._work = work
        self._queued = False

    def process(self, batch: Batch) -> None:
        """Take the next frames."""

    def crashed(self) -> None:
        """End the connection at once: `process` has raised something, which is logged."""

    def dataReceived(self, data: bytes) -> None:
        """Process the bytes, as far as it is this connection's turn."""
        if self.closing:
            return
        self._filter.feed(data)
        if self._queued:
            return
        if self._work.may_start():
            batch = self._filter.take(SLICE)
            self._work.charge(batch.cost)
            self.process(batch)
            if self.closing or not self._filter.waiting:
                return
        self._queued = True
        cast("IPushProducer", self.transport).pauseProducing()
        self._work.enqueue(self)

    def process_slice(self) -> int:
        """Process a slice of what waits, then queue for the rest or read on; return its cost in microseconds."""
        if self.closing:
            return 0
        batch = self._filter.take(SLICE)
        try:
            self.process(batch)
        except Exception:  # noqa: BLE001  as transports do: logged, and the connection aborted
            self.log.failure("{protocol} failed; connection aborted", protocol=type(self).__name__)
            self.crashed()
        if self.closing:
            return batch.cost
        if self._filter.waiting:
            self._work.enqueue(self)
        else:
            self._queued = False
            cast("IPushProducer", self.transport).resumeProducing()
        return batch.cost
