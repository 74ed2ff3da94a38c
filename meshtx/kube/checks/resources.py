"""Where the API has the kinds of objects that are looked at."""

from __future__ import annotations

from dataclasses import dataclass

from meshtx.kube.api_errors import Object
from meshtx.kube.self_check import Rule


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object.

    :param group: the API group; that of pods has no name.
    :param name: in paths and rules.
    :param namespaced: objects of it belong to a namespace.
    """

    group: str
    name: str
    namespaced: bool = True

    def path(self, namespace: str = "", name: str = "") -> str:
        """Return where the API has one object, or without a name all of them.

        :param namespace: empty: all namespaces.
        """
        place = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        behind = f"/{name}" if name else ""
        return f"{f'/apis/{self.group}/v1' if self.group else '/api/v1'}{place}/{self.name}{behind}"

    def rule(self, verb: str, namespace: str = "", name: str = "") -> Rule:
        """Return what must be allowed."""
        return Rule(verb, self.name, self.group, namespace if self.namespaced else "", name)


_RBAC = "rbac.authorization.k8s.io"

RESOURCES = {
    "APIService": Resource("apiregistration.k8s.io", "apiservices", namespaced=False),
    "ClusterRole": Resource(_RBAC, "clusterroles", namespaced=False),
    "ClusterRoleBinding": Resource(_RBAC, "clusterrolebindings", namespaced=False),
    "ConfigMap": Resource("", "configmaps"),
    "Deployment": Resource("apps", "deployments"),
    "EndpointSlice": Resource("discovery.k8s.io", "endpointslices"),
    "MutatingWebhookConfiguration": Resource(
        "admissionregistration.k8s.io", "mutatingwebhookconfigurations", namespaced=False
    ),
    "Namespace": Resource("", "namespaces", namespaced=False),
    "NetworkPolicy": Resource("networking.k8s.io", "networkpolicies"),
    "Pod": Resource("", "pods"),
    "PodDisruptionBudget": Resource("policy", "poddisruptionbudgets"),
    "Role": Resource(_RBAC, "roles"),
    "RoleBinding": Resource(_RBAC, "rolebindings"),
    "Secret": Resource("", "secrets"),
    "Service": Resource("", "services"),
    "ServiceAccount": Resource("", "serviceaccounts"),
}
"""By kind, all of version v1."""


def namespace_of(each: Object) -> str:
    """Return the namespace of an object; empty: it belongs to none."""
    return str(each["metadata"].get("namespace") or "")
