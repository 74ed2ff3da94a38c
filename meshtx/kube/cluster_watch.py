"""Follows what the directory needs of a cluster: pods, Services, their slices, nodes, and the networks of Services.

The last of these is new in Kubernetes 1.33, and only a help: without it each Service's own address says as much.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from twisted.application.service import MultiService
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from meshtx.kube.api_errors import ApiAnswered, ApiUnavailable, Object
from meshtx.kube.directory_metrics import DirectoryMetrics
from meshtx.kube.objects import Kept, Node, Pod, Service, ServiceNetwork, Slice
from meshtx.kube.self_check import Rule
from meshtx.kube.watching import Change, IsApi, Watched

RETRY = 30.0
"""Seconds until it is asked again whether the networks of Services may be listed."""


@dataclass(frozen=True, slots=True)
class Resource:
    """Something to follow.

    :param group: the API group; that of pods has no name.
    """

    name: str
    group: str
    read: Callable[[Object], Kept]

    @property
    def path(self) -> str:
        """Where the API has it."""
        return f"/apis/{self.group}/v1/{self.name}" if self.group else f"/api/v1/{self.name}"

    @property
    def rules(self) -> tuple[Rule, ...]:
        """What must be allowed."""
        return tuple(Rule(verb, self.name, self.group) for verb in ("list", "watch"))


NEEDED = (
    Resource("pods", "", Pod.read),
    Resource("services", "", Service.read),
    Resource("endpointslices", "discovery.k8s.io", Slice.read),
    Resource("nodes", "", Node.read),
)
OPTIONAL = Resource("servicecidrs", "networking.k8s.io", ServiceNetwork.read)

RULES = tuple(rule for each in NEEDED for rule in each.rules)
"""What the program needs of the cluster's permissions."""


class ClusterWatch(MultiService):
    """Follows while it runs.

    :param changed: called with each object before and after its change.
    :param known: called once, when all that is needed is known whole.
    """

    log = Logger()

    def __init__(
        self,
        api: IsApi,
        changed: Callable[[Kept | None, Kept | None], None],
        known: Callable[[], None],
        clock: IReactorTime,
        metrics: DirectoryMetrics,
    ) -> None:
        super().__init__()
        self._api = api
        self._changed = changed
        self._known = known
        self._clock = clock
        self._metrics = metrics
        self._watches: list[Watched[Kept]] = []
        self._needed = {each.name: self._watch(each) for each in NEEDED}
        self._running: list[Deferred[None]] = []

    def ready_reason(self) -> str | None:
        """Return what is not known whole yet, ``None`` where all is; later trouble is no reason."""
        missing = [name for name, watch in self._needed.items() if not watch.synced]
        if not missing:
            return None
        problem = next((watch.problem for watch in self._needed.values() if watch.problem), None)
        return f"the cluster's {', '.join(missing)} are not known yet" + (f": {problem}" if problem else "")

    def followed(self) -> bool:
        """Tell whether all that is needed is followed now, as far as that is known."""
        return all(watch.problem is None for watch in self._needed.values())

    def startService(self) -> None:
        """Follow."""
        super().startService()
        self._running = [ensureDeferred(self._until_known()), ensureDeferred(self._follow_optional())]
        for each in self._running:
            each.addErrback(_stopped)
            each.addErrback(partial(self.log.failure, "the cluster is not followed as it should be"))

    def stopService(self) -> Deferred[None]:
        """Follow no more."""
        for each in self._running:
            each.cancel()
        return super().stopService()

    async def _until_known(self) -> None:
        for watch in self._needed.values():
            await watch.first
        self._known()

    async def _follow_optional(self) -> None:
        while True:
            try:
                await self._api.get(OPTIONAL.path, limit=1)
            except ApiAnswered as error:
                self.log.info("{resource} are not followed: {reason}", resource=OPTIONAL.name, reason=str(error))
                return
            except ApiUnavailable:
                await deferLater(self._clock, RETRY)
            else:
                self._watch(OPTIONAL)
                return

    def _watch(self, resource: Resource) -> Watched[Kept]:
        def changed(change: Change[Kept]) -> None:
            self._changed(change.before, change.after)

        turned = partial(self._metrics.turned, resource.name)
        watch = Watched(
            self._api, resource.path, resource.read, changed, self._clock, turned=turned, recovered=self._hurry
        )
        self._metrics.watch(resource.name, watch.age, lambda: len(watch.store))
        self._watches.append(watch)
        watch.setServiceParent(self)
        return watch

    def _hurry(self) -> None:
        """One is followed again after trouble: the others need not wait for their own turns to try."""
        for watch in self._watches:
            watch.hurry()


def _stopped(failure: Failure) -> None:
    failure.trap(CancelledError)
