"""All documents of the control plane, in the order in which they are applied, and what to delete."""

from __future__ import annotations

from meshtx.kube.annotations import POD_SECURITY
from meshtx.kube.manifests.network import budgets, policies, services, tap_service
from meshtx.kube.manifests.programs import deployments
from meshtx.kube.manifests.rbac import accounts, roles
from meshtx.kube.manifests.shapes import Document, document, labels
from meshtx.kube.manifests.trust import trust
from meshtx.kube.manifests.values import Program, Trust, Values
from meshtx.kube.webhook import webhook_configuration


def documents(values: Values) -> list[Document]:
    """Return everything: the same values, the same documents.

    The webhook comes last: from then on, pods that ask for the mesh wait for the injector. So it is deleted first, and
    then the tap API, without which, while it is registered, no namespace comes to its end.
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
        tap_service(values),
        _webhook(values),
    ]


def deletions(namespace: str) -> list[Document]:
    """Return what names everything that `documents` makes, whatever its other values, the last first."""
    everything = documents(Values(trust=Trust("", "", "", ""), namespace=namespace))
    return [_reference(each) for each in reversed(everything)]


def _reference(each: Document) -> Document:
    place = {key: value for key, value in each["metadata"].items() if key in {"name", "namespace"}}
    return {"apiVersion": each["apiVersion"], "kind": each["kind"], "metadata": place}


def _namespace(values: Values) -> Document:
    enforced = {POD_SECURITY: "privileged"}  # for NET_ADMIN of the redirect
    return document("v1", "Namespace", values.namespace, None, enforced)


def _webhook(values: Values) -> Document:
    made = webhook_configuration(values.namespace, adopt_linkerd=values.adopt_linkerd)
    name, marks = made["metadata"]["name"], labels(Program.INJECTOR)
    return document(made["apiVersion"], made["kind"], name, None, marks, webhooks=made["webhooks"])
