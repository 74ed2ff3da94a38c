"""The directory that a file holds, read again when the file has changed and is still (see `meshtx.watch`).

Bad content changes nothing: the last good one holds.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from meshtx.directory.document import parse
from meshtx.directory.ranges import Ranges
from meshtx.directory.table import Table
from meshtx.directory.target import PortFacts, Target
from meshtx.files import read_text
from meshtx.interfaces import IDirectory
from meshtx.watch import Contents, FileWatch, Reload
from meshtx.wire.address import Address

INTERVAL = 0.5
"""Seconds between two looks at the file."""

MAX_LENGTH = 16 * 2**20
"""Bytes of the file: some 100,000 workloads."""


@implementer(IDirectory)
class FileDirectory(MultiService):
    """Answers from a file. It is ready once it is made; as a running service it follows changes.

    :param interval: seconds between two looks.
    :param reloaded: called with what came of each change.
    :raises ConfigError: the file cannot be read, or its content is wrong.
    """

    log = Logger()
    ready = True

    def __init__(
        self,
        path: Path,
        clock: IReactorTime,
        interval: float = INTERVAL,
        reloaded: Callable[[Reload], None] = lambda _: None,
    ) -> None:
        super().__init__()
        self._path = path
        self._subscribers: dict[object, Callable[[], None]] = {}
        self._watch = FileWatch(
            f"directory in {path}",
            read=lambda: {path: _read(path).encode()},
            build=_build,
            changed=self._take,
            clock=clock,
            reloaded=reloaded,
            interval=interval,
            still=path,
        )
        self._table = self._watch.load()
        self._watch.setServiceParent(self)

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

    def _take(self, table: Table) -> None:
        self._table = table
        self.log.info("{path} holds {count} addresses and networks", path=str(self._path), count=len(table))
        for changed in tuple(self._subscribers.values()):
            changed()


def load(path: Path) -> Table:
    """Return what a directory file says.

    :raises ConfigError: it cannot be read, or its content is wrong.
    """
    return parse(_read(path), str(path))


def _build(contents: Contents) -> Table:
    ((path, data),) = contents.items()
    return parse(data.decode(), str(path))


def _read(path: Path) -> str:
    return read_text(path, "name a directory file that can be read", MAX_LENGTH)
