"""All documents of the control plane, in the order in which they are applied, and what to delete."""

from __future__ import annotations

from meshtx.kube.manifests.network import budgets, policies, services
from meshtx.kube.manifests.programs import deployments
from meshtx.kube.manifests.rbac import accounts, roles
from meshtx.kube.manifests.shapes import Document, document
from meshtx.kube.manifests.trust import trust
from meshtx.kube.manifests.values import Trust, Values


def documents(values: Values) -> list[Document]:
    """Return everything: the same values, the same documents.

    The webhook comes last: from then on, pods that ask for the mesh wait for the injector.
    """
    return [
        _namespace(values),
        *accounts(values),
        *roles(values),
        *trust(values),
        *services(values),
        *policies(values),
        *budgets(values),
        *deployments(values),
    ]


def deletions(namespace: str) -> list[Document]:
    """Return what names everything that `documents` makes, whatever its other values, the last first."""
    everything = documents(Values(trust=Trust("", "", "", ""), namespace=namespace))
    return [_reference(each) for each in reversed(everything)]


def _reference(each: Document) -> Document:
    place = {key: value for key, value in each["metadata"].items() if key in {"name", "namespace"}}
    return {"apiVersion": each["apiVersion"], "kind": each["kind"], "metadata": place}


def _namespace(values: Values) -> Document:
    enforced = {"pod-security.kubernetes.io/enforce": "restricted"}
    return document("v1", "Namespace", values.namespace, None, enforced)
