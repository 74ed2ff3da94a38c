"""Events: what a cluster's administrator should know of, at the object that it is about (``kubectl describe``).

They are a courtesy: whether one can be written changes nothing else. One that is told again raises the count of the
first, and no more often than once in five minutes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from meshtx.kube.api import ApiError, ApiRefused, KubeApi
from meshtx.observe.sparing import Sparing

QUIET = 300.0
"""Seconds in which the same is not written again."""
MAX_KEPT = 100
"""Events that are remembered, so that a repeat is known for one."""
MOST, WINDOW = 200, 60.0
"""Events that are written in so many seconds; the rest is left out: what they are about may be strangers' doing."""
MAX_MESSAGE = 1024
"""Characters; the API's own bound."""
_NOT_FOUND = 404


class Type(StrEnum):
    """How an event is shown."""

    NORMAL = "Normal"
    WARNING = "Warning"


@dataclass(frozen=True, slots=True)
class Involved:
    """The object that an event is about.

    :param uid: if it is known; without it the event is found by kind and name.
    """

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str = ""

    def reference(self) -> dict[str, str]:
        """Return it as an event has it."""
        named = {
            "apiVersion": self.api_version,
            "kind": self.kind,
            "namespace": self.namespace,
            "name": self.name,
            "uid": self.uid,
        }
        return {key: value for key, value in named.items() if value}


@dataclass(frozen=True, slots=True)
class _Said:
    """What makes two events the same one."""

    involved: Involved
    reason: str
    message: str
    type: Type


@dataclass(slots=True)
class _Kept:
    """An event that was written, and how often it has happened by now."""

    written: float
    path: str = ""
    count: int = 1


class EventRecorder(Service):
    """Writes events.

    :param component: the program's name, as the event's source.
    :param wall: seconds since the epoch.
    """

    log = Logger()

    def __init__(self, api: KubeApi, component: str, wall: Callable[[], float]) -> None:
        self._api = api
        self._component = component
        self._wall = wall
        self._kept: OrderedDict[_Said, _Kept] = OrderedDict()
        self._sparing = Sparing(MOST, WINDOW)
        self._writing: set[Deferred[None]] = set()

    def tell(self, involved: Involved, reason: str, message: str, type: Type) -> None:  # noqa: A002  # the API's word
        """Write one, without being waited for; what then goes wrong is logged."""
        writing = Deferred.fromCoroutine(self.record(involved, reason, message, type))
        self._writing.add(writing)
        writing.addErrback(lambda failure: failure.trap(CancelledError) and None)
        writing.addErrback(lambda failure: self.log.failure("an event was not written", failure))
        writing.addBoth(lambda _: self._writing.discard(writing))

    async def record(self, involved: Involved, reason: str, message: str, type: Type = Type.WARNING) -> None:  # noqa: A002  # likewise
        """Write one, or count it.

        :param reason: one word, the same for all of its kind, as ``IssuerExpired``.
        :param message: one sentence, without secrets.
        """
        said = _Said(involved, reason, message[:MAX_MESSAGE], type)
        kept = self._kept.get(said)
        if kept is not None:
            kept.count += 1
            if self._wall() < kept.written + QUIET:
                return
        if not self._may_write():
            return
        try:
            await self._write(said, kept)
        except ApiError as error:
            self.log.warn("event {reason} was not written: {problem}", reason=reason, problem=str(error))

    def _may_write(self) -> bool:
        left_out = self._sparing.left_out("event", self._wall())
        if left_out:
            self.log.warn("{left_out} events were not written: there were too many", left_out=left_out)
        return left_out is not None

    async def _write(self, said: _Said, kept: _Kept | None) -> None:
        """Raise the count of the first one, or write it where there is none, or none any more."""
        if kept is not None and kept.path:
            kept.written = self._wall()
            try:
                await self._api.patch(kept.path, {"count": kept.count, "lastTimestamp": self._now()})
            except ApiRefused as error:
                if error.status != _NOT_FOUND:
                    raise
            else:
                return
        await self._create(said)

    async def _create(self, said: _Said) -> None:
        kept = self._kept[said] = _Kept(self._wall())
        self._kept.move_to_end(said)
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        path = f"/api/v1/namespaces/{said.involved.namespace}/events"
        made = await self._api.post(path, self._event(said))
        metadata = made.get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else None
        kept.path = f"{path}/{name}" if isinstance(name, str) else ""

    def _event(self, said: _Said) -> dict[str, object]:
        now = self._now()
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{said.involved.name}.", "namespace": said.involved.namespace},
            "involvedObject": said.involved.reference(),
            "reason": said.reason,
            "message": said.message,
            "type": said.type.value,
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }

    def _now(self) -> str:
        return f"{datetime.fromtimestamp(self._wall(), UTC):%Y-%m-%dT%H:%M:%SZ}"

    def stopService(self) -> None:
        """Leave unwritten what is not written yet."""
        super().stopService()
        for writing in list(self._writing):
            writing.cancel()
