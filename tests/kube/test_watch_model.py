"""Any order of changes and trouble: the store ends as the server's, and the changes that were told lead there."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshtx.kube.api_errors import ApiRefused, ApiUnavailable, Object
from meshtx.kube.watching import Change, Watched
from tests.kube.scripted_watch import (
    ScriptedApi,
    Stream,
    added,
    bookmark,
    deleted,
    end_of_list,
    error,
    item,
    modified,
    page,
)

Step = tuple[str, str, str]

NAMES = ("a", "b", "c")
START: list[Step] = [("set", "a", "x"), ("set", "b", "x"), *[("deliver", "", "")] * 4]
"""After which a watch is complete."""

STEPS = ("set", "delete", "elsewhere", "deliver", "bookmark", "cut", "end", "forget", "wait", "no streams")


class Server:
    """An API server in small: objects, the history that it still has, and how far the watch has been told."""

    def __init__(self, api: ScriptedApi) -> None:
        self.api = api
        self.version = 1
        self.objects: dict[str, tuple[int, str]] = {}
        self.history: list[tuple[int, Object]] = []
        self.oldest = 0
        self.streams = True
        """Whether it can send a list as a stream."""
        self._served: Stream | None = None
        self._told = 0
        self._listing = False

    def set(self, name: str, label: str) -> None:
        self.version += 1
        event = (modified if name in self.objects else added)(name, self.version, label)
        self.objects[name] = (self.version, label)
        self.history.append((self.version, event))

    def delete(self, name: str) -> None:
        if self.objects.pop(name, None):
            self.version += 1
            self.history.append((self.version, deleted(name, self.version)))

    def elsewhere(self) -> None:
        self.version += 1

    def forget(self) -> None:
        """Know no more what happened until now; a watch that has not been told of it ends."""
        if self.api.last is self._served and any(version > self._told for version, _ in self.history):
            self.end()
        self.oldest = self.version
        self.history.clear()

    def deliver(self) -> None:
        """Send a watch one thing of what it is to know; answer one that has just come."""
        stream = self.api.last
        if stream.done.called:
            return
        if stream is not self._served:
            self._begin(stream)
        elif self._listing:
            self._list_on(stream)
        else:
            self._tell(stream)

    def _begin(self, stream: Stream) -> None:
        self._served = stream
        self._listing = "sendInitialEvents" in stream.query
        if not self._listing:
            self._told = int(str(stream.query["resourceVersion"]))
            if self._told < self.oldest:
                stream.send(error(410))
        elif self.streams:
            self._told = self.version
            self._queue = [added(name, version, label) for name, (version, label) in self.objects.items()]
        else:
            objects = [item(name, version, label) for name, (version, label) in self.objects.items()]
            self.api.pages = [page(self.version, *objects)]
            stream.fail(ApiRefused("GET: 422 Invalid", 422))

    def _list_on(self, stream: Stream) -> None:
        if self._queue:
            stream.send(self._queue.pop(0))
        else:
            self._listing = False
            stream.send(end_of_list(self._told))

    def _tell(self, stream: Stream) -> None:
        for version, event in self.history:
            if version > self._told:
                self._told = version
                stream.send(event)
                return

    def bookmark(self) -> None:
        stream = self.api.last
        if stream is not self._served or stream.done.called or self._listing:
            return
        if all(version <= self._told for version, _ in self.history):
            self._told = self.version
        stream.send(bookmark(self._told))

    def end(self, trouble: Exception | None = None) -> None:
        stream = self.api.last
        if stream.done.called:
            return
        if trouble:
            stream.fail(trouble)
        else:
            stream.end()


class TestModel(SynchronousTestCase):
    @settings(max_examples=500, deadline=None)
    @given(st.lists(st.tuples(st.sampled_from(STEPS), st.sampled_from(NAMES), st.sampled_from("xyz")), max_size=40))
    def test_whatever_happens_nothing_is_missed_and_nothing_told_twice(self, steps: list[Step]) -> None:
        clock, api = Clock(), ScriptedApi()
        server = Server(api)
        changes: list[Change[str]] = []
        watched = Watched(api, "/x", lambda found: str(found["label"]), changes.append, clock, rng=lambda: 0.5)
        watched.startService()
        for step in [*START, *steps, *[("wait", "", ""), ("deliver", "", "")] * 60]:
            self.play(server, clock, step)
        watched.stopService()
        truth = {f"ns/{name}": label for name, (_, label) in server.objects.items()}
        self.assertEqual((watched.synced, watched.store), (True, truth))
        self.assertEqual(self.replayed(changes), truth)

    def play(self, server: Server, clock: Clock, step: Step) -> None:
        what, name, label = step
        match what:
            case "set":
                server.set(name, label)
            case "delete":
                server.delete(name)
            case "cut":
                server.end(ApiUnavailable("connection lost"))
            case "wait":
                clock.advance(60)
            case "no streams":
                server.streams = False
            case _:
                getattr(server, what)()

    def replayed(self, changes: list[Change[str]]) -> dict[str, str]:
        store: dict[str, str] = {}
        for change in changes:
            self.assertEqual(store.get(change.key), change.before)
            self.assertNotEqual(change.before, change.after)
            if change.after is None:
                del store[change.key]
            else:
                store[change.key] = change.after
        return store
