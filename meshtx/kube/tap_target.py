"""What may be tapped in a cluster, as users write it, as URLs have it, and as the API server authorizes it.

    deploy           .../watch/namespaces/NS/deployments/-/tap     watch deployments/tap, in NS, whatever the name
    deploy/web       .../watch/namespaces/NS/deployments/web/tap   watch deployments/tap, in NS, by the name web
    pod/web-1        .../watch/namespaces/NS/pods/web-1/tap        watch pods/tap, in NS, by the name web-1
    ns/emojivoto     .../watch/namespaces/emojivoto/tap            watch tap, in emojivoto

The API server reads the right that is needed from the URL before it passes the request on. Here the same right is
read from it, to be asked for again: whoever serves requests for others does not trust that somebody has looked.

``-`` stands for every name (AIP-159). The API server reads it as a name that no object can have, so a rule with
`resourceNames` does not cover it; the directory asks for the right without a name, which no such rule gives.
The right is on the subresource: roles that let their holders watch ``deployments`` of every group are common.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

from meshtx.errors import MeshtxError
from meshtx.kube.objects import Pod
from meshtx.kube.tap_names import GROUP, PATH, VERSION

VERB, SUBRESOURCE = "watch", "tap"
WHOLE = "tap"
"""The resource that stands for all pods of a namespace."""

RESOURCES = (
    "cronjobs",
    "daemonsets",
    "deployments",
    "jobs",
    "pods",
    "replicasets",
    "replicationcontrollers",
    "statefulsets",
)

_SHORT = {
    "cj": "cronjobs",
    "ds": "daemonsets",
    "deploy": "deployments",
    "po": "pods",
    "rs": "replicasets",
    "rc": "replicationcontrollers",
    "sts": "statefulsets",
}
"""As kubectl knows them."""
_NAMESPACES = ("ns", "namespace", "namespaces")

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
"""Of an object: a DNS subdomain (RFC 1123)."""


class NoTarget(MeshtxError, ValueError):
    """That is nothing that can be tapped; the message says what could be."""


@dataclass(frozen=True, slots=True)
class TapTarget:
    """Pods of a namespace.

    :param resource: plural, one of `RESOURCES`, or `WHOLE`.
    :param name: of the object; empty for every one of the kind, and for the whole namespace.
    """

    namespace: str
    resource: str
    name: str = ""

    @classmethod
    def written(cls, text: str, namespace: str) -> TapTarget:
        """Read ``KIND`` or ``KIND/NAME``, with kubectl's short names; a namespace has a name.

        :param namespace: in which it is, unless it is one.
        :raises NoTarget: it is nothing that can be tapped.
        """
        kind, slash, name = text.partition("/")
        resource = resource_of(kind)
        if resource is None:
            known = ", ".join([*(each.removesuffix("s") for each in RESOURCES), "namespace"])
            raise NoTarget(f"{text!r}: {kind.lower()!r} cannot be tapped; there are {known}")
        if resource == WHOLE and not slash:
            raise NoTarget(f"{text!r}: which namespace is not said; write {kind}/NAMESPACE")
        if slash and not _NAME.fullmatch(name):
            raise NoTarget(f"{text!r}: {name!r} is no name of an object; write KIND/NAME, such as deploy/web")
        return cls(name, WHOLE) if resource == WHOLE else cls(namespace, resource, name)

    @classmethod
    def of_path(cls, path: str) -> TapTarget | None:
        """Return what the path of a URL, from `PATH` on, means; ``None``: nothing."""
        before, _, rest = path.partition(f"{PATH}/")
        match [before, *rest.split("/")]:
            case ["", "watch", "namespaces", namespace, "tap"]:
                target = cls(unquote(namespace), WHOLE)
            case ["", "watch", "namespaces", namespace, resource, "-", "tap"] if resource in RESOURCES:
                target = cls(unquote(namespace), resource)
            case ["", "watch", "namespaces", namespace, resource, name, "tap"] if resource in RESOURCES:
                target = cls(unquote(namespace), resource, unquote(name))
                if not _NAME.fullmatch(target.name):
                    return None
            case _:
                return None
        return target if _NAME.fullmatch(target.namespace) else None

    @property
    def path(self) -> str:
        """The path of its URL."""
        place = f"{PATH}/watch/namespaces/{quote(self.namespace)}"
        return (
            f"{place}/{WHOLE}" if self.resource == WHOLE else f"{place}/{self.resource}/{quote(self.name or '-')}/tap"
        )

    def attributes(self) -> dict[str, str]:
        """Return what must be allowed, as a SubjectAccessReview has it."""
        right = {"verb": VERB, "group": GROUP, "version": VERSION, "namespace": self.namespace}
        if self.resource == WHOLE:
            return {**right, "resource": WHOLE}
        named = {"name": self.name} if self.name else {}
        return {**right, "resource": self.resource, "subresource": SUBRESOURCE, **named}

    @property
    def right(self) -> str:
        """The rule that allows it, in words: the resource, its group, and whether `resourceNames` will do."""
        if self.resource == WHOLE:
            return f"{WHOLE} of {GROUP}"
        return f"{self.resource}/{SUBRESOURCE} of {GROUP}{'' if self.name else ' without resourceNames'}"

    def holds(self, pod: Pod) -> bool:
        """Say whether a pod is one of these."""
        if pod.namespace != self.namespace:
            return False
        if self.resource == WHOLE:
            return True
        if self.resource == "pods":
            return self.name in ("", pod.name)
        if not self.name:
            return any(each.startswith(f"{self.resource}/") for each in pod.workloads)
        return f"{self.resource}/{self.name}" in pod.workloads

    def __str__(self) -> str:
        if self.resource == WHOLE:
            return f"namespace {self.namespace}"
        return f"{self.resource}/{self.name}" if self.name else self.resource


def resource_of(kind: str) -> str | None:
    """Return the resource that a kind or its short name stands for (`WHOLE` for a namespace), ``None`` for no kind."""
    kind = kind.lower()
    if kind in _NAMESPACES:
        return WHOLE
    resource = _SHORT.get(kind, kind if kind.endswith("s") else f"{kind}s")
    return resource if resource in RESOURCES else None


def api_resources() -> list[dict[str, object]]:
    """Return what discovery says of all this.

    kubectl knows no subresource of what is not there itself, so ``deployments`` stands there too, as ``pods`` do among
    metrics. None can be listed or deleted: who looks into all APIs for what there is passes them by.
    """
    names = [*RESOURCES, *(f"{resource}/{SUBRESOURCE}" for resource in RESOURCES), WHOLE]
    return [{"name": name, "singularName": "", "namespaced": True, "kind": "Tap", "verbs": [VERB]} for name in names]
