"""One resource of the API, listed and then watched: a store that follows it, and what changes in it.

    list ──▶ watch ──▶ clean end: watch again from the last version
     ▲         ├────▶ trouble: wait, then watch again from the last version
     └─────────┴────▶ 410, the version is too old: wait, then list again

The list comes as a stream where the server can do that (``sendInitialEvents``), else in pages. Listing again is a
diff against the store: what is gone is removed, what is the same is not told again, and what was known stays known
meanwhile. Waits grow from 0.8 s to 30 s, each a random part of that (full jitter), unless the server says how long;
one who knows that the server is back may end them.
A connection that is silent for 30 s longer than the watch was to last is dead.

Source: kubernetes.io, "API concepts": efficient detection of changes, streaming lists, bookmarks, 410 Gone.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from meshtx.kube.api_errors import ApiError, ApiRefused, ApiUnavailable, Object, Query
from meshtx.kube.pages import pages
from meshtx.kube.watch_events import (
    Event,
    Key,
    Kind,
    ReportedError,
    items_of,
    key_of,
    metadata_of,
    read_event,
    version_of,
)
from meshtx.net.deadline import call_off

LIFE = (300.0, 600.0)
"""Seconds after which the server is to end a watch: at random between these, so that not all end together."""
GRACE = 30.0
"""Seconds of silence beyond that, after which the connection is dead."""
FIRST_WAIT, LAST_WAIT = 0.8, 30.0
"""Seconds: the most that is waited after the first failure, and after many."""
SHORT = 1.0
"""Seconds; a watch that ends sooner and brought nothing is a failure, however it ended. One that goes on has by then
brought what was missed."""
GONE = 410
"""The HTTP status of a version, or a page, that the server has no more."""

T = TypeVar("T")


class IsApi(Protocol):
    """What a watch needs of `meshtx.kube.api.KubeApi`."""

    async def get(self, path: str, **query: str | int | bool) -> Object:
        """Return an object."""
        ...

    def stream(
        self,
        path: str,
        query: Query,
        on_line: Callable[[bytes], None],
        *,
        silence: float,
        begun: Callable[[], None] = ...,
    ) -> Deferred[None]:
        """Call with each line."""
        ...


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """An object is another than before.

    :param before: ``None`` if it was not there.
    :param after: ``None`` if it is not there any more.
    """

    key: Key
    before: T | None
    after: T | None


class Turn(StrEnum):
    """What has happened to a watch: a label of its counter."""

    SYNCED = "synced"
    """A list is complete."""
    ENDED = "ended"
    """The server has ended the watch as it does in time."""
    EXPIRED = "expired"
    """The version was too old: it is listed again."""
    FAILED = "failed"
    """Anything else: it is tried again."""


class Watched(Service, Generic[T]):
    """Follows one resource while the service runs.

    :param path: of the collection, such as ``/api/v1/pods``.
    :param keep: what is stored for an object; ``None`` leaves it out. The object is the API's, without managedFields.
    :param changed: called with each change, in order.
    :param selector: of labels.
    :param rng: draws a number in [0, 1).
    :param turned: called with what happens to the watch.
    :param recovered: called when the server brings something again after trouble.
    """

    log = Logger()

    def __init__(
        self,
        api: IsApi,
        path: str,
        keep: Callable[[Object], T | None],
        changed: Callable[[Change[T]], None],
        clock: IReactorTime,
        *,
        selector: str = "",
        rng: Callable[[], float] = random.random,
        turned: Callable[[Turn], None] = lambda _: None,
        recovered: Callable[[], None] = lambda: None,
    ) -> None:
        self.store: dict[Key, T] = {}
        self.synced = False
        """Whether the store was complete once: from then on it is at worst old."""
        self.last_sync: float | None = None
        """When the server was last heard of, in the clock's seconds; before the first list ``None``."""
        self.problem: str | None = None
        """Why it is not followed now."""
        self._api = api
        self._path = path
        self._keep = keep
        self._changed = changed
        self._clock = clock
        self._selector = {"labelSelector": selector} if selector else {}
        self._rng = rng
        self._turned = turned
        self._recovered = recovered
        self._version: str | None = None
        self._seen: set[Key] | None = None
        """While a list comes as a stream: what it has brought."""
        self._brought = False
        """Whether this connection has brought anything."""
        self._failures = 0
        self._resting: IDelayedCall | None = None
        """The end of a wait that the server has not asked for."""
        self._settling: IDelayedCall | None = None
        """When it counts as followed again."""
        self._troubled = self._hurried = False
        """Since the server was heard of: whether there was trouble, and whether a wait was cut short."""
        self._waiting: list[Deferred[None]] = []
        self._running: Deferred[None] | None = None

    @property
    def first(self) -> Deferred[None]:
        """A Deferred of one's own that fires once the store is complete for the first time."""
        if self.synced:
            return succeed(None)
        waiting: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        return waiting

    def age(self) -> float | None:
        """Return the seconds since the server was last heard of, ``None`` before the first list."""
        return None if self.last_sync is None else self._clock.seconds() - self.last_sync

    def startService(self) -> None:
        """Follow."""
        super().startService()
        self._running = ensureDeferred(self._run())
        self._running.addErrback(_stopped)

    def stopService(self) -> None:
        """Follow no more; the store stays as it is."""
        super().stopService()
        if self._running:
            self._running.cancel()

    def hurry(self) -> None:
        """The server is there: wait no longer, unless it has said how long, or this was no help the last time."""
        if self._resting is not None and not self._hurried:
            self._hurried = True
            self._resting.reset(0)

    async def _run(self) -> None:
        while self.running:
            began = self._clock.seconds()
            try:
                await self._follow()
            except CancelledError:
                raise
            except ApiError as error:
                await self._rest(error, self._clock.seconds() - began)
            except Exception as error:  # noqa: BLE001  # a defect must not end the watch: nobody would know
                self.log.failure("{path}: following failed", path=self._path)
                defect = ApiUnavailable(f"internal error: {type(error).__name__}")
                await self._rest(defect, 0.0)

    async def _follow(self) -> None:
        """List if there is no version to go on from, and watch until that ends.

        :raises ApiError: it ended otherwise than by the server's clock.
        """
        began, self._brought = self._clock.seconds(), False
        if self._version is not None:
            await self._stream({"resourceVersion": self._version})
        elif not await self._stream_list():
            await self._list()
            return
        if self._version is None:
            raise ApiUnavailable(f"{self._path}: the list ended before it was complete")
        if not self._brought and self._clock.seconds() - began < SHORT:
            raise ApiUnavailable(f"{self._path}: the watch ended within {SHORT:g} s and brought nothing")
        self._turned(Turn.ENDED)

    async def _rest(self, error: ApiError, lasted: float) -> None:
        """Note a failure, and wait.

        :param lasted: seconds that it went well before.
        """
        most = self._failed(error, lasted)
        asked = error.retry_after if isinstance(error, ApiUnavailable) else None
        rested: Deferred[None] = Deferred(lambda _: end.cancel())
        end = self._clock.callLater((asked or 0.0) + self._rng() * most, rested.callback, None)
        self._resting = None if asked else end
        try:
            await rested
        finally:
            self._resting = None

    def _failed(self, error: ApiError, lasted: float) -> float:
        """Note a failure; return the most seconds to wait, of our own accord."""
        self._troubled = True
        if lasted >= LAST_WAIT:
            self._failures = 0
        if error.status == GONE:
            self._version = None
            self._turned(Turn.EXPIRED)
        else:
            self._turned(Turn.FAILED)
        reason = str(error)
        if reason != self.problem:
            self.log.warn("{path} is not followed now: {reason}", path=self._path, reason=reason)
        self.problem = reason
        most = min(FIRST_WAIT * 2 ** min(self._failures, 16), LAST_WAIT)
        self._failures += 1
        return most

    # The list

    async def _stream_list(self) -> bool:
        """List and then watch in one stream; return ``False`` if the server cannot do that."""
        self._seen = set()
        try:
            await self._stream({"sendInitialEvents": True, "resourceVersionMatch": "NotOlderThan"})
        except (ApiRefused, ReportedError):
            if self._seen is None:
                raise  # the list was complete: the watch has ended
            return False
        finally:
            self._seen = None
        return True

    async def _list(self) -> None:
        """Take the whole list in pages."""
        seen: set[Key] = set()
        version = ""
        async for page in pages(self._api, self._path, **self._selector):
            for item in items_of(self._path, page):
                self._put(item, seen)
            version = version_of(self._path, page)
        self._complete(seen, version)

    def _complete(self, seen: set[Key], version: str) -> None:
        """Remove what a whole list did not bring."""
        for key in sorted(self.store.keys() - seen):
            self._set(key, None)
        self.synced = True
        self._heard(version)
        self._turned(Turn.SYNCED)
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)

    # The watch

    async def _stream(self, query: Query) -> None:
        life = int(LIFE[0] + self._rng() * (LIFE[1] - LIFE[0]))
        asked = {"watch": True, "allowWatchBookmarks": True, "timeoutSeconds": life, **self._selector, **query}
        try:
            await self._api.stream(self._path, asked, self._line, silence=life + GRACE, begun=self._begun)
        finally:
            self._settle(None)

    def _begun(self) -> None:
        """The server has taken the request: what is not in the store may come yet."""
        if self._seen is None and self.problem:
            self._settle(self._clock.callLater(SHORT, self._follows))

    def _settle(self, settling: IDelayedCall | None) -> None:
        before, self._settling = self._settling, settling
        call_off(before)

    def _follows(self) -> None:
        """Everything there is was told: a list is whole, or a watch has brought for a while what it had to catch up."""
        if self.problem:
            self.log.info("{path} is followed again", path=self._path)
        self.problem = None

    def _line(self, line: bytes) -> None:
        """Take one event.

        :raises ApiError: the server reports an error, or the line is no event.
        """
        event = read_event(self._path, line)
        self._brought = True
        if self._seen is None:
            self._apply(event, set())
            self._heard(event.version)
            self._failures = 0
            return
        self._apply(event, self._seen)
        if event.ends_the_list:
            seen, self._seen = self._seen, None
            self._complete(seen, event.version)
            self._follows()

    def _apply(self, event: Event, seen: set[Key]) -> None:
        """Take what an event says about its object into the store."""
        if event.kind is Kind.DELETED:
            self._set(key_of(self._path, event.item), None)
        elif event.kind is not Kind.BOOKMARK:
            self._put(event.item, seen)

    def _heard(self, version: str) -> None:
        """The server is there, and what it has said up to this version is in the store."""
        self._version = version
        self.last_sync = self._clock.seconds()
        troubled, self._troubled, self._hurried = self._troubled, False, False
        if troubled:
            self._recovered()

    # The store

    def _put(self, item: Object, seen: set[Key]) -> None:
        """Store an object as `keep` wants it; one that it fails over stays as it was."""
        key = key_of(self._path, item)
        seen.add(key)
        metadata_of(item).pop("managedFields", None)
        try:
            kept = self._keep(item)
        except Exception:  # noqa: BLE001  the border to whatever is in a cluster
            self.log.failure("{path}: {key} cannot be read; what was known of it stays", path=self._path, key=key)
            return
        self._set(key, kept)

    def _set(self, key: Key, after: T | None) -> None:
        """Store, and tell if it is another than before."""
        before = self.store.get(key)
        if before == after:
            return
        if after is None:
            del self.store[key]
        else:
            self.store[key] = after
        try:
            self._changed(Change(key, before, after))
        except Exception:  # noqa: BLE001  whoever listens must not end the watch
            self.log.failure("{path}: the change of {key} was not taken", path=self._path, key=key)


def _stopped(failure: Failure) -> None:
    failure.trap(CancelledError)
