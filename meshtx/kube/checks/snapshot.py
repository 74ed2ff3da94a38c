"""What was read of a cluster, for checks to look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

from meshtx.kube.annotations import CONTROL_PLANE
from meshtx.kube.api_errors import Object
from meshtx.kube.checks.outcomes import NotKnown
from meshtx.kube.injection import labels_of
from meshtx.kube.manifests.values import Trust, Values
from meshtx.kube.manifests.whole import documents
from meshtx.kube.self_check import Rule
from meshtx.kube.sidecar import INIT, PROXY

T = TypeVar("T")

_LIVE = {"Pending", "Running"}


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """It is there."""

    value: T


@dataclass(frozen=True, slots=True)
class Absent:
    """The API has no such thing."""


@dataclass(frozen=True, slots=True)
class Unread:
    """The user may not read it.

    :param why: names the right that is missing.
    """

    why: str


Read = Found[T] | Absent | Unread


class Key(NamedTuple):
    """Which object of the mesh's own."""

    kind: str
    name: str
    namespace: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    @classmethod
    def of(cls, each: Object) -> Key:
        """Return that of an object."""
        return cls(each["kind"], each["metadata"]["name"], each["metadata"].get("namespace") or "")


@dataclass(frozen=True, slots=True)
class Server:
    """The API server.

    :param version: major and minor number.
    :param release: as it writes its version.
    :param user: as whom it knows us.
    :param ahead: seconds by which its clock is ahead of ours at least; ``None``: it does not tell.
    """

    url: str
    version: tuple[int, int]
    release: str
    user: str = ""
    ahead: float | None = None


@dataclass(frozen=True)
class Snapshot:
    """A cluster at one moment.

    :param namespace: of the control plane.
    :param version: of the program that looks.
    :param now: aware.
    :param objects: the mesh's own. Of Secrets, certificates alone.
    :param rights: what was asked whether the user may do it.
    """

    namespace: str
    version: str
    now: datetime
    server: Server
    objects: Mapping[Key, Read[Object]] = field(default_factory=dict)
    namespaces: Read[Sequence[Object]] = field(default_factory=Absent)
    pods: Read[Sequence[Object]] = field(default_factory=Absent)
    services: Read[Sequence[Object]] = field(default_factory=Absent)
    slices: Read[Sequence[Object]] = field(default_factory=Absent)
    rights: Mapping[Rule, bool] = field(default_factory=dict)

    def key(self, kind: str, name: str) -> Key:
        """Return which of the mesh's own objects has this kind and name."""
        return next(key for key in self.objects if (key.kind, key.name) == (kind, name))

    def object(self, kind: str, name: str) -> Object:
        """Return one of the mesh's own objects.

        :raises NotKnown: it is not there, which another check says, or may not be read.
        """
        key = self.key(kind, name)
        return known(self.objects[key], str(key))

    def every(self, *kinds: str) -> Iterator[tuple[Key, Read[Object]]]:
        """Give the mesh's own objects of these kinds."""
        return ((key, read) for key, read in self.objects.items() if key.kind in kinds)

    def demand_read(self, *kinds: str) -> None:
        """See that none of the mesh's own objects of these kinds was kept from the user.

        :raises NotKnown: some were, and the message says why.
        """
        kept = dict.fromkeys(read.why for _, read in self.every(*kinds) if isinstance(read, Unread))
        if kept:
            raise NotKnown("; ".join(kept))

    def live_pods(self) -> list[Object]:
        """Return the pods that have not ended and are not to end.

        :raises NotKnown: they may not be read.
        """
        return [
            pod
            for pod in known(self.pods, "pods")
            if (pod.get("status") or {}).get("phase", "Pending") in _LIVE and "deletionTimestamp" not in pod["metadata"]
        ]

    def meshed_pods(self) -> list[Object]:
        """Return the live pods that this control plane has given a proxy.

        :raises NotKnown: they may not be read.
        """
        return [
            pod
            for pod in self.live_pods()
            if labels_of(pod).get(CONTROL_PLANE) == self.namespace and PROXY in containers_of(pod)
        ]

    def namespaces_by_name(self) -> dict[str, Object]:
        """Return the namespaces that are not about to go.

        :raises NotKnown: they may not be read.
        """
        return {
            each["metadata"]["name"]: each
            for each in known(self.namespaces, "namespaces")
            if "deletionTimestamp" not in each["metadata"]
        }


def known(read: Read[T], what: str) -> T:
    """Return what was read.

    :param what: it is, in the error's words.
    :raises NotKnown: it was not, or is not there.
    """
    match read:
        case Found(value):
            return value
        case Absent():
            raise NotKnown(f"there is no {what}")
        case Unread(why):
            raise NotKnown(why)


def expected(namespace: str) -> dict[Key, Object]:
    """Return the control plane as this version renders it, as far as no choice of its values matters."""
    every = documents(Values(trust=Trust("", "", "", ""), namespace=namespace))
    return {Key.of(each): each for each in every}


def path_of(each: Object) -> str:
    """Return namespace and name."""
    return f"{each['metadata']['namespace']}/{each['metadata']['name']}"


def containers_of(pod: Object) -> dict[str, Object]:
    """Return a pod's containers by name, those that only begin it too."""
    spec = pod.get("spec") or {}
    return {each["name"]: each for each in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ()))}


def our_containers(pod: Object) -> list[Object]:
    """Return those that the injector has put into a pod."""
    return [each for name, each in containers_of(pod).items() if name in {INIT, PROXY}]
