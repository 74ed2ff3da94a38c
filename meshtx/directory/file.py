"""The directory that a file holds, read again when the file has changed.

The file is looked at once an interval and read when it has been still for a whole one, so that
one that is being written is not read half. Bad content changes nothing: the last good one holds.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from meshtx.directory.document import parse
from meshtx.directory.ranges import Ranges
from meshtx.directory.table import Table
from meshtx.directory.target import PortFacts, Target
from meshtx.errors import ConfigError
from meshtx.files import read_text
from meshtx.interfaces import IDirectory
from meshtx.wire.address import Address

INTERVAL = 0.5
"""Seconds between two looks at the file."""

MAX_LENGTH = 16 * 2**20
"""Bytes of the file: some 100,000 workloads."""

_Stamp = tuple[int, ...]
"""Differs once the file is another or has other content; empty while there is none."""


@implementer(IDirectory)
class FileDirectory(Service):
    """Answers from a file. It is ready once it is made; as a running service it follows changes.

    :param interval: seconds between two looks.
    :raises ConfigError: the file cannot be read, or its content is wrong.
    """

    log = Logger()
    ready = True

    def __init__(self, path: Path, clock: IReactorTime, interval: float = INTERVAL) -> None:
        self.error: str | None = None
        """Why the file as it is now is not what answers; ``None`` when it is."""
        self._path = path
        self._clock = clock
        self._interval = interval
        self._call: IDelayedCall | None = None
        self._subscribers: dict[object, Callable[[], None]] = {}
        self._seen: _Stamp | None = None
        self._judged: _Stamp | None = None
        self._text, self._table = load(self._path)

    @property
    def ranges(self) -> Ranges:
        """What the file says of nodes, pods and balancers."""
        return self._table.ranges

    def find(self, destination: Address) -> Deferred[Target]:
        """Return the target behind an address; the Deferred has fired."""
        return succeed(self._table.find(destination))

    def own_port(self, address: Address) -> PortFacts:
        """Return what the file says of a port of this workload."""
        return self._table.own_port(address)

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call back after every change; return the function that ends that."""
        token = object()
        self._subscribers[token] = changed

        def unsubscribe() -> None:
            self._subscribers.pop(token, None)

        return unsubscribe

    def startService(self) -> None:
        """Follow the file."""
        super().startService()
        self._call = self._clock.callLater(self._interval, self._look)

    def stopService(self) -> None:
        """Leave the file alone; what was read last still answers."""
        super().stopService()
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _look(self) -> None:
        self._call = self._clock.callLater(self._interval, self._look)
        stamp = self._stamp()
        if stamp == self._seen and stamp != self._judged:
            self._judged = stamp
            self._read_again()
        self._seen = stamp

    def _stamp(self) -> _Stamp:
        try:
            status = self._path.stat()
        except OSError:
            return ()
        return status.st_dev, status.st_ino, status.st_ctime_ns, status.st_mtime_ns, status.st_size

    def _read_again(self) -> None:
        try:
            text, table = load(self._path)
        except ConfigError as error:
            self.error = str(error)
            self.log.warn("{error}; the directory stays as it was", error=self.error)
            return
        self.error = None
        if text == self._text:
            return
        self._text, self._table = text, table
        self.log.info("{path} has changed: {count} addresses and networks", path=str(self._path), count=len(table))
        for changed in tuple(self._subscribers.values()):
            changed()


def load(path: Path) -> tuple[str, Table]:
    """Return what a directory file says, as text and as a table.

    :raises ConfigError: it cannot be read, or its content is wrong.
    """
    text = read_text(path, "name a directory file that can be read", MAX_LENGTH)
    return text, parse(text, str(path))
