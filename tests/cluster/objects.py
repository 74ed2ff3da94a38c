"""Kubernetes objects of the tales, as a user would write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.cluster.images import APP

Document = dict[str, Any]

INJECTED = {"meshtx.io/inject": "enabled"}
"""Labels of a namespace whose pods are meshed."""


def namespace(name: str, annotations: dict[str, str]) -> Document:
    """Return a namespace whose pods are meshed."""
    meta = {"name": name, "labels": INJECTED, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": meta}


def template(app: str, command: Sequence[str], spec: Document, **more: Any) -> Document:
    """Return a pod's template.

    :param spec: more of the pod's spec.
    :param more: of its container.
    """
    container = {"name": "app", "image": APP, "command": list(command), **more}
    return {
        "metadata": {"labels": {"app": app}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 10, **spec},
    }


def deployment(
    space: str,
    app: str,
    command: Sequence[str],
    *,
    replicas: int = 1,
    **more: Any,
) -> list[Document]:
    """Return a Deployment and the ServiceAccount of its own name.

    :param more: of its container.
    """
    meta = {"name": app, "namespace": space}
    pods = template(app, command, {"serviceAccountName": app}, **more)
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": app}}, "template": pods}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec},
    ]


def job(space: str, name: str, command: Sequence[str]) -> Document:
    """Return a Job whose pod is tried once."""
    pods = template(name, command, {"restartPolicy": "Never"})
    meta = {"name": name, "namespace": space}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {"backoffLimit": 0, "template": pods}}


def service(space: str, name: str, app: str, port: int, target: int, **more: Any) -> Document:
    """Return a Service.

    :param more: of its spec.
    """
    spec = {"selector": {"app": app}, "ports": [{"port": port, "targetPort": target}], **more}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": space}, "spec": spec}
