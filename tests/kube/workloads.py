"""The objects of an application: a Deployment, its ServiceAccount, its Service."""

from __future__ import annotations

from collections.abc import Sequence

from tests.kube.kubelet import Json


def namespace(name: str) -> Json:
    """Return a namespace that asks for the mesh."""
    labels = {"meshtx.io/inject": "enabled"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def account(namespace: str, name: str) -> Json:
    """Return a ServiceAccount."""
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}


def deployment(
    namespace: str, name: str, command: Sequence[str], *, replicas: int = 1, volumes: Sequence[str] = (), **more: object
) -> Json:
    """Return a Deployment of a program, under a ServiceAccount of its own name.

    :param volumes: names of empty ones.
    :param more: of the container, which is called ``app``.
    """
    labels = {"app": name}
    spec = {
        "serviceAccountName": name,
        "containers": [{"name": "app", "image": "example.org/app:1", "command": list(command), **more}],
        "volumes": [{"name": each, "emptyDir": {}} for each in volumes],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def service(namespace: str, name: str, app: str, port: int, target: int) -> Json:
    """Return the Service of a Deployment.

    :param app: its name.
    """
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"app": app}, "ports": [{"port": port, "targetPort": target}]},
    }
