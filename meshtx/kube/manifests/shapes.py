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

_PART_OF = {"app.kubernetes.io/part-of": "meshtx"}
_VERSION = {"app.kubernetes.io/version": __version__}


def selector(program: Program) -> dict[str, str]:
    """Return the labels that a program's pods are found by."""
    return {"app.kubernetes.io/name": program.value}


def labels(program: Program) -> dict[str, str]:
    """Return the labels of what belongs to one program."""
    return {**selector(program), **_PART_OF, "app.kubernetes.io/component": program.role}


def document(
    api: str, kind: str, name: str, namespace: str | None, marks: Mapping[str, str] | None = None, **rest: object
) -> Document:
    """Return an object.

    :param namespace: ``None`` for what belongs to no namespace.
    :param marks: labels, beside those that everything of ours has.
    :param rest: what stands beside `metadata`, as it is.
    """
    place = {"namespace": namespace} if namespace else {}
    metadata = {"name": name, **place, "labels": {**(marks or {}), **_PART_OF, **_VERSION}}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **rest}
