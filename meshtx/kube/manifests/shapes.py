"""Names, labels and small shapes that several kinds of documents share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshtx import __version__
from meshtx.kube.manifests.values import Program

Document = dict[str, Any]
"""One object of the API; Any: JSON has no narrower type here."""

ISSUER_SECRET = "meshtx-identity-issuer"  # noqa: S105  # a name
TRUST_CONFIG_MAP = "meshtx-trust-roots"
TRUST_KEY = "ca-bundle.crt"

IDENTITY_PORT, DIRECTORY_PORT, TAP_PORT, WEBHOOK_PORT, ADMIN_PORT = 8080, 8086, 8089, 8443, 9990

UID = 2103
"""The user of the control plane: not the sidecar's, whose connections pass its redirect."""

_LABEL = "app.kubernetes.io"
"""Of the labels that Kubernetes recommends for all tools to find things by."""

_EVERY = {
    f"{_LABEL}/part-of": "meshtx",
    f"{_LABEL}/instance": "meshtx",
    f"{_LABEL}/managed-by": "meshtx",
    f"{_LABEL}/version": __version__,
}
"""The only instance: what belongs to no namespace has the same name in every installation."""

_OF_NO_PROGRAM = {f"{_LABEL}/name": "meshtx", f"{_LABEL}/component": "control-plane"}


def selector(program: Program) -> dict[str, str]:
    """Return the labels that a program's pods are found by, which never change: the API server would refuse it."""
    return {f"{_LABEL}/name": program.value}


def labels(program: Program) -> dict[str, str]:
    """Return the labels of what belongs to one program."""
    return {**selector(program), f"{_LABEL}/component": program.role, **_EVERY}


def document(
    api: str, kind: str, name: str, namespace: str | None, marks: Mapping[str, str] | None = None, **rest: object
) -> Document:
    """Return an object.

    :param namespace: ``None`` for what belongs to no namespace.
    :param marks: labels, beside those that everything of ours has.
    :param rest: what stands beside `metadata`, as it is.
    """
    place = {"namespace": namespace} if namespace else {}
    metadata = {"name": name, **place, "labels": {**_OF_NO_PROGRAM, **(marks or {}), **_EVERY}}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **rest}
