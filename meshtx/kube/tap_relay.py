"""One user's tap: the taps of the pods that are wanted, opened and closed as pods come and go, told as lines of JSON.

    {"pod": "web-1", "said": "the tap is open", "mesh": "meshtx.cluster.local"}
    {"pod": "web-1", "event": {...}}

What is said is words, for a person; an event is a `meshtx.tap.v1.TapEvent` as protobuf writes it in JSON. The mesh is
the one that the cluster's own workloads belong to, ``CONTROL-NS.TRUST-DOMAIN``: names that end otherwise are foreign.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial

from google.protobuf.json_format import MessageToDict
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from meshtx.errors import MeshtxError
from meshtx.kube.cluster import Meshed
from meshtx.kube.objects import Pod
from meshtx.observe.printable import printable
from meshtx.pki.name import MeshScope
from meshtx.rpc.messages.tap_pb2 import TapEvent

MAX_PODS = 64
"""Pods that one tap watches at once; each costs a connection."""
RETRY = (1.0, 30.0)
"""Seconds until a pod's proxy is tried again: at first, and at most; doubled each time."""

OnEvent = Callable[[TapEvent], Deferred[None] | None]
Observe = Callable[[Meshed, OnEvent], Awaitable[None]]
"""Watches one pod's proxy until it ends the tap, as `meshtx.observe.tap_client.TapClient.observe` does."""


@dataclass(slots=True)
class _Watched:
    where: Meshed
    tap: Deferred[None]


class TapRelay:
    """Watches pods while it is not stopped.

    :param reached: returns where a pod is to be watched; ``None``: it is not to be.
    :param add: takes a line; what it returns is waited for before that pod is asked for more.
    :param stopped: told of its end.
    :param mesh: of the pods' names.
    """

    log = Logger()

    def __init__(
        self,
        reached: Callable[[Pod], Meshed | None],
        observe: Observe,
        add: Callable[[bytes], Deferred[None] | None],
        clock: IReactorTime,
        stopped: Callable[[TapRelay], None],
        *,
        mesh: MeshScope,
    ) -> None:
        self._reached = reached
        self._observe = observe
        self._add = add
        self._clock = clock
        self._stopped = stopped
        self._mesh = mesh
        self._watched: dict[str, _Watched] = {}
        self._left_out: dict[str, Pod] = {}

    def begin(self, pods: Iterable[Pod]) -> None:
        """Watch those of these that are to be watched."""
        for pod in pods:
            self._look(pod)

    def changed(self, before: Pod | None, after: Pod | None) -> None:
        """Take a change of a pod."""
        if after is not None:
            self._look(after)
        elif before is not None:
            self._left_out.pop(before.key, None)
            self._leave(before)

    def stop(self) -> None:
        """Watch nothing more."""
        self._left_out.clear()
        for watched in tuple(self._watched.values()):
            watched.tap.cancel()
        self._watched.clear()
        self._stopped(self)

    def _look(self, pod: Pod) -> None:
        where = self._reached(pod)
        watched = self._watched.get(pod.key)
        self._left_out.pop(pod.key, None)
        if watched is not None and watched.where == where:
            return
        if watched is not None:
            self._leave(pod)
        if where is None:
            return
        if len(self._watched) < MAX_PODS:
            self._enter(pod, where)
        else:
            self._left_out[pod.key] = pod
            self._say(pod, f"is left out: {MAX_PODS} pods are watched at once")

    def _enter(self, pod: Pod, where: Meshed) -> None:
        tap = ensureDeferred(self._watch(pod, where))
        tap.addErrback(lambda failure: failure.trap(CancelledError) and None)
        tap.addErrback(partial(self.log.failure, "a pod is no longer watched for a tap"))
        self._watched[pod.key] = _Watched(where, tap)

    def _leave(self, pod: Pod) -> None:
        watched = self._watched.pop(pod.key, None)
        if watched is None:
            return
        watched.tap.cancel()
        self._say(pod, "the pod is gone")
        if self._left_out:
            _, waiting = self._left_out.popitem()
            self._look(waiting)

    async def _watch(self, pod: Pod, where: Meshed) -> None:
        wait, longest = RETRY
        said = ""
        while True:
            problem = await self._until_it_ends(pod, where)
            if problem != said:  # once is enough, however often it is tried
                self._say(pod, problem)
                said = problem
            await deferLater(self._clock, wait)
            wait = min(wait * 2, longest)

    async def _until_it_ends(self, pod: Pod, where: Meshed) -> str:
        """Watch a pod's proxy; return why that has ended."""

        def on_event(event: TapEvent) -> Deferred[None] | None:
            if event.HasField("flow") or event.HasField("lost"):
                return self._add(_line(pod, event=MessageToDict(event, preserving_proto_field_name=True)))
            self._add(_line(pod, said="the tap is open", mesh=str(self._mesh)))
            return None

        try:
            await self._observe(where, on_event)
        except MeshtxError as error:
            return printable(str(error))
        return "the proxy has ended the tap"

    def _say(self, pod: Pod, text: str) -> None:
        self._add(_line(pod, said=text))


def _line(pod: Pod, **what: object) -> bytes:
    return json.dumps({"pod": pod.name, **what}, separators=(",", ":")).encode("ascii")
