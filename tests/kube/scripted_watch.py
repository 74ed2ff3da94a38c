"""What `Watched` needs of the API, answering as a test says, with nothing between."""

from __future__ import annotations

import json
from collections.abc import Callable

from twisted.internet.defer import Deferred

from meshtx.kube.api_errors import ApiError, Object, Query

END = {"k8s.io/initial-events-end": "true"}


def item(name: str, version: int, label: str = "", **metadata: object) -> Object:
    return {"metadata": {"name": name, "namespace": "ns", "resourceVersion": str(version), **metadata}, "label": label}


def added(name: str, version: int, label: str = "") -> Object:
    return {"type": "ADDED", "object": item(name, version, label)}


def modified(name: str, version: int, label: str = "") -> Object:
    return {"type": "MODIFIED", "object": item(name, version, label)}


def deleted(name: str, version: int) -> Object:
    return {"type": "DELETED", "object": item(name, version)}


def bookmark(version: int, **annotations: str) -> Object:
    return {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(version), "annotations": annotations}}}


def end_of_list(version: int) -> Object:
    return bookmark(version, **END)


def error(code: int, **details: object) -> Object:
    status = {"kind": "Status", "code": code, "reason": "Expired", "message": "no", "details": details}
    return {"type": "ERROR", "object": status}


def page(version: int, *items: Object, more: str = "") -> Object:
    return {"metadata": {"resourceVersion": str(version), "continue": more}, "items": list(items) or None}


class Stream:
    """One request for a stream, and the server's end of it."""

    def __init__(self, query: Query, on_line: Callable[[bytes], None], silence: float) -> None:
        self.query = query
        self.silence = silence
        self.cancelled = False
        self.done: Deferred[None] = Deferred(self._cancel)
        self._on_line = on_line

    def _cancel(self, _: object) -> None:
        self.cancelled = True

    def send(self, *events: Object) -> None:
        """Send events; as with the real one, what is raised over a line is how it ends."""
        for event in events:
            self.send_line(json.dumps(event).encode())

    def send_line(self, line: bytes) -> None:
        try:
            self._on_line(line)
        except ApiError as raised:
            self.done.errback(raised)

    def end(self) -> None:
        self.done.callback(None)

    def fail(self, raised: Exception) -> None:
        self.done.errback(raised)


class ScriptedApi:
    """Keeps what was asked.

    :ivar pages: what the next requests for lists get: objects, or errors that are raised.
    """

    def __init__(self) -> None:
        self.pages: list[Object | Exception] = []
        self.lists: list[Query] = []
        self.streams: list[Stream] = []

    async def get(self, path: str, **query: str | int | bool) -> Object:
        self.lists.append({"path": path, **query})
        answer = self.pages.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def stream(
        self,
        path: str,
        query: Query,
        on_line: Callable[[bytes], None],
        *,
        silence: float,
        begun: Callable[[], None] = lambda: None,
    ) -> Deferred[None]:
        self.streams.append(Stream({"path": path, **query}, on_line, silence))
        begun()
        return self.streams[-1].done

    @property
    def last(self) -> Stream:
        """The stream that was asked for last."""
        return self.streams[-1]
