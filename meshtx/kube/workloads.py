"""Where in an object of the API its pods are described, and to which objects a pod belongs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

GROUPS = {
    "Pod": "",
    "ReplicationController": "",
    "DaemonSet": "apps",
    "Deployment": "apps",
    "ReplicaSet": "apps",
    "StatefulSet": "apps",
    "CronJob": "batch",
    "Job": "batch",
}
"""The kinds that have pods, and the API's group of each one."""


def template_path(kind: str) -> tuple[str, ...]:
    """Return the keys that lead to what has the metadata and the spec of a pod; a Pod has them itself."""
    return _PATHS.get(kind, ("spec", "template"))


def workloads_of(metadata: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a pod belongs to by its metadata, as ``deployments/web``.

    Read from the pod alone, so that nobody needs the right to read what is above it: a Deployment names its ReplicaSets
    after the hash that their pods have as a label, a CronJob its Jobs after the minute (Kubernetes' own controllers
    do).
    """
    owner = next((each for each in metadata.get("ownerReferences") or () if each.get("controller")), None)
    kind = owner.get("kind") if owner else None
    if owner is None or kind not in GROUPS or kind == "Pod" or not _is_of(owner, GROUPS[kind]):
        return
    name = owner["name"]
    yield f"{_plural(kind)}/{name}"
    hash_ = (metadata.get("labels") or {}).get("pod-template-hash")
    if kind == "ReplicaSet" and hash_ and name.endswith(f"-{hash_}"):
        yield f"{_plural('Deployment')}/{name.removesuffix(f'-{hash_}')}"
    made_at = _BY_THE_MINUTE.fullmatch(name) if kind == "Job" else None
    if made_at:
        yield f"{_plural('CronJob')}/{made_at[1]}"


def _is_of(owner: Mapping[str, Any], group: str) -> bool:
    found, slash, _ = (owner.get("apiVersion") or "").partition("/")
    return (found if slash else "") == group


def _plural(kind: str) -> str:
    return f"{kind.lower()}s"


_BY_THE_MINUTE = re.compile(r"(.+)-[0-9]{8}")
"""The minutes since 1970 have eight digits until 2160."""

_PATHS = {"Pod": (), "CronJob": ("spec", "jobTemplate", "spec", "template")}
