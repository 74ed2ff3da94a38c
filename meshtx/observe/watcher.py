"""Watches one connection's bytes in passing: finds the protocol, then feeds its observer.

    client's bytes ─▶ detectors, asked in order ─┬ YES ─▶ observer, fed from the first byte on
                                                 ├ MORE ─▶ asked again with the next bytes
                                                 └ all NO ─▶ nothing is watched any more

Nothing here holds a byte back: these are copies. What is kept for a late decision is bounded:
fewer than 64 bytes of the client beside its last chunk, 16 KiB of a server that speaks first.
A detector or observer that raises is let go of; the connection goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TypeVar

from meshtx.interfaces import Detection, IDetector, IObserver
from meshtx.observe.flow import Flow, Seen

T = TypeVar("T")

FIRST_BYTES = 64
"""How many of the client's first bytes a detector may look at."""
MAX_SERVER_BYTES = 16 * 1024
"""How many bytes of a server that speaks first are kept until the client says something."""


class Detached(StrEnum):
    """Why a connection is not watched any more."""

    NOT_RECOGNISED = "not_recognised"
    """No detector knows these bytes. The usual end; not counted."""
    GAVE_UP = "gave_up"
    """The observer met what it does not understand."""
    FAILED = "failed"
    """The observer or detector raised an exception: a defect."""
    LIMIT = "limit"
    """A bound was reached."""


class Watcher:
    """Reads copies of both directions of one connection.

    :param flow: returns the connection as it is known now, for the observer to be made.
    :param seen: is told the protocol and what was seen.
    :param detached: is told once that watching is over, with the protocol (``""`` where none was recognised).
    :param failed: is told of an exception, with the detector's name; called in the ``except`` clause.
    """

    def __init__(
        self,
        detectors: Sequence[IDetector],
        flow: Callable[[], Flow],
        seen: Callable[[str, Sequence[Seen]], None],
        detached: Callable[[str, Detached], None],
        failed: Callable[[str], None],
    ) -> None:
        self._detectors = list(detectors)
        self._flow = flow
        self._seen = seen
        self._detached = detached
        self._failed = failed
        self._protocol = ""
        self._observer: IObserver | None = None
        self._over = False
        self._from_client = b""
        self._from_server = b""

    def client_data(self, data: bytes) -> None:
        """Look at what the client sent."""
        observer = self._observer
        if observer is not None:
            self._feed(observer, observer.client_data, data)
        elif not self._over:
            self._from_client += data
            self._detect()

    def server_data(self, data: bytes) -> None:
        """Look at what the server sent."""
        observer = self._observer
        if observer is not None:
            self._feed(observer, observer.server_data, data)
        elif not self._over:
            if len(self._from_server) + len(data) > MAX_SERVER_BYTES:
                self.detach(Detached.NOT_RECOGNISED)
            else:
                self._from_server += data

    def ended(self, *, orderly: bool) -> None:
        """The connection has ended: report what that ends."""
        if self._observer is not None:
            self._feed(self._observer, self._observer.ended, orderly)
        self.detach(Detached.NOT_RECOGNISED)

    def detach(self, why: Detached) -> None:
        """Watch no more."""
        if self._over:
            return
        self._over = True
        self._observer = None
        self._from_client = self._from_server = b""
        self._detached(self._protocol, why)

    def _detect(self) -> None:
        first = self._from_client[:FIRST_BYTES]
        undecided = []
        for detector in self._detectors:
            match self._ask(detector, first):
                case Detection.YES:
                    self._recognised(detector)
                    return
                case Detection.MORE:
                    undecided.append(detector)
                case Detection.NO:
                    pass
        self._detectors = undecided
        if not undecided or len(first) == FIRST_BYTES:
            self.detach(Detached.NOT_RECOGNISED)

    def _ask(self, detector: IDetector, first: bytes) -> Detection:
        try:
            return detector.detect(first)
        except Exception:  # noqa: BLE001 - a plugin's code: whatever it raises ends its part
            self._failed(detector.name)
            return Detection.NO

    def _recognised(self, detector: IDetector) -> None:
        self._protocol = detector.name
        try:
            self._observer = detector.observer(self._flow())
        except Exception:  # noqa: BLE001 - a plugin's code
            self._failed(detector.name)
            self.detach(Detached.FAILED)
            return
        client, server = self._from_client, self._from_server
        self._from_client = self._from_server = b""
        self.client_data(client)
        if server:
            self.server_data(server)

    def _feed(self, observer: IObserver, method: Callable[[T], list[Seen]], data: T) -> None:
        try:
            seen = method(data)
            if seen:
                self._seen(self._protocol, seen)
            detached = observer.detached
        except Exception:  # noqa: BLE001 - a plugin's code, or what came out of it
            self._failed(self._protocol)
            self.detach(Detached.FAILED)
            return
        if detached:
            self.detach(Detached.GAVE_UP)
