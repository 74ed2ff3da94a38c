"""Where in an object of the API its pods are described."""

from __future__ import annotations

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


_PATHS = {"Pod": (), "CronJob": ("spec", "jobTemplate", "spec", "template")}
