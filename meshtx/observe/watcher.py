"""Watches one connection's bytes in passing: finds the protocol, then feeds its observer.

    client's bytes ─▶ detectors, asked in order ─┬ YES ─▶ observer, fed from the first byte on
                                                 ├ MORE ─▶ asked again with the next bytes
                                                 └ all NO ─▶ nothing is watched any more

Nothing here holds a byte back: these are copies. What is kept for a late decision is bounded:
fewer than 64 bytes of the client beside its last chunk, 16 KiB of a server that speaks first.
A detector or observer that raises is let go of, be it `SystemExit` or asyncio's `CancelledError`, which are no
`Exception`, as is one that does more work than it may (`meshtx.observe.budget`); the connection goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Protocol

from meshtx.interfaces import Detection, IDetector
from meshtx.observe.budget import FREE, Budget, Counted, Spending, counted
from meshtx.observe.flow import Flow, Seen
from meshtx.wire.http_events import TooCostly

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
    BUDGET = "budget"
    """Observing it cost more than it may (`meshtx.observe.budget`, `meshtx.wire.work`)."""


class LimitReached(Exception):
    """Who is told what was seen can take no more of this connection."""


class Watched(Protocol):
    """A connection that is watched."""

    @property
    def flow(self) -> Flow:
        """It as it is known now: the same value until that changes."""

    def detached(self, protocol: str, why: Detached) -> None:
        """Take note, once, that watching is over.

        :param protocol: ``""`` where none was recognised.
        """


class Watcher:
    """Reads copies of both directions of one connection.

    :param watched: whose bytes they are.
    :param failed: is told of an exception, with the detector's name; called in the ``except`` clause.
    :param budget: what observing may cost.
    :ivar seen: is told what was seen, and may raise `LimitReached`; may be replaced.
    """

    __slots__ = (
        "_budget",
        "_detectors",
        "_failed",
        "_from_client",
        "_from_server",
        "_over",
        "_spending",
        "_watched",
        "observer",
        "protocol",
        "seen",
    )

    def __init__(
        self,
        detectors: Sequence[IDetector],
        watched: Watched,
        seen: Callable[[Sequence[Seen]], None],
        failed: Callable[[str], None],
        budget: Budget,
    ) -> None:
        self._budget = budget
        self._spending: Spending | None = None
        self.seen = seen
        self.protocol = ""
        """The detector's name, once there is one."""
        self._detectors = detectors  # those that may still know the protocol
        self._watched = watched
        self._failed = failed
        self.observer: Counted | None = None
        self._over = False
        self._from_client = b""
        self._from_server = b""

    # With every request these two run; what they have in common is spelled out in both.

    def client_data(self, data: bytes) -> None:
        """Look at what the client sent."""
        observer = self.observer
        if observer is None:
            self._first_of_client(data)
            return
        try:
            seen = observer.client_data(data)
            if seen:
                self.seen(seen)
            if observer.detached:
                self._gave_up(seen)
            elif observer.work > FREE:
                self._charge(observer.work, data, seen)
        except BaseException as error:  # noqa: BLE001 - a plugin's code, or what came out of it
            self._raised(error)

    def server_data(self, data: bytes) -> None:
        """Look at what the server sent."""
        observer = self.observer
        if observer is None:
            self._first_of_server(data)
            return
        try:
            seen = observer.server_data(data)
            if seen:
                self.seen(seen)
            if observer.detached:
                self._gave_up(seen)
            elif observer.work > FREE:
                self._charge(observer.work, data, seen)
        except BaseException as error:  # noqa: BLE001 - likewise
            self._raised(error)

    def ended(self, *, orderly: bool) -> None:
        """The connection has ended: report what that ends."""
        observer = self.observer
        if observer is not None:
            try:
                seen = observer.ended(orderly)
                if seen:
                    self.seen(seen)
                if observer.detached:
                    self._gave_up(seen)
            except BaseException as error:  # noqa: BLE001 - likewise
                self._raised(error)
        self.detach(Detached.NOT_RECOGNISED)

    def detach(self, why: Detached) -> None:
        """Watch no more."""
        if self._over:
            return
        self._over = True
        self.observer = None
        self._from_client = self._from_server = b""
        self._watched.detached(self.protocol, why)

    def _gave_up(self, seen: Sequence[Seen]) -> None:
        costly = len(seen) > 0 and isinstance(seen[-1], TooCostly)
        self.detach(Detached.BUDGET if costly else Detached.GAVE_UP)

    def _charge(self, work: float, data: bytes, seen: Sequence[Seen]) -> None:
        """Charge for a long call, and watch no more if that is too much."""
        if self._spending is None:
            self._spending = Spending(self._budget)
        if not self._spending.charge(work, len(data), seen):
            self.detach(Detached.BUDGET)

    def _first_of_client(self, data: bytes) -> None:
        if self._over:
            return
        self._from_client += data
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

    def _first_of_server(self, data: bytes) -> None:
        if self._over:
            return
        if len(self._from_server) + len(data) > MAX_SERVER_BYTES:
            self.detach(Detached.NOT_RECOGNISED)
        else:
            self._from_server += data

    def _ask(self, detector: IDetector, first: bytes) -> Detection:
        try:
            return Detection(detector.detect(first))  # what is none, such as True, is a mistake to be told
        except BaseException:  # noqa: BLE001 - a plugin's code: whatever it raises ends its part
            self._failed(detector.name)
            return Detection.NO

    def _recognised(self, detector: IDetector) -> None:
        self.protocol = detector.name
        try:
            observer = detector.observer(self._watched.flow)
            if observer is None:  # the detectors would be asked again, without end
                raise TypeError(f"{detector.name}: observer() returned None")
            self.observer = counted(observer, self._budget.cpu)
        except BaseException:  # noqa: BLE001 - a plugin's code
            self._failed(detector.name)
            self.detach(Detached.FAILED)
            return
        client, server = self._from_client, self._from_server
        self._from_client = self._from_server = b""
        self.client_data(client)
        if server:
            self.server_data(server)

    def _raised(self, error: BaseException) -> None:
        if isinstance(error, LimitReached):
            self.detach(Detached.LIMIT)
        else:
            self._failed(self.protocol)
            self.detach(Detached.FAILED)
