"""The MutatingWebhookConfiguration: which pods the API server shows to the injector.

    namespace            pod                          shown
    label enabled        not disabled                 by ``namespaces.…``
    anything else        label or annotation enabled  by ``pods.…``

Namespaces are judged by their labels, which selectors see. So the injector can fail closed: without it, pods that
asked for the mesh wait (``failurePolicy: Fail``), and no other pod does. The third entry is for workloads, whose
authors see warnings, as those of pods do not; it changes nothing and nothing depends on it.

There is no ``caBundle`` here: injectors put it in, so that manifests hold no key and never change by themselves
(`meshtx.kube.serving_rotation`).
"""

from __future__ import annotations

from meshtx.kube.annotations import DISABLED, ENABLED, INJECT, LINKERD_INJECT
from meshtx.kube.json_patch import Json

NAME = "meshtx-injector"
"""Of the configuration, and of the Service that it calls."""
PODS, WORKLOADS = "/pods", "/workloads"
"""The paths of the Service."""
TIMEOUT, WARNING_TIMEOUT = 10, 2
"""Seconds for a call; the latter where nothing depends on the answer."""
_SUFFIX = "injector.meshtx.io"


def webhook_configuration(namespace: str) -> Json:
    """Return the object.

    :param namespace: of the control plane: its own pods, like those of kube-system, are never shown.
    """
    asked_for = {"key": INJECT, "operator": "In", "values": [ENABLED]}
    not_asked_for = {"key": INJECT, "operator": "NotIn", "values": [ENABLED]}
    others = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", namespace]}
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": NAME},
        "webhooks": [
            {
                **_entry("namespaces", namespace, PODS, "Fail"),
                "namespaceSelector": {"matchExpressions": [asked_for, others]},
                "objectSelector": {"matchExpressions": [{**asked_for, "operator": "NotIn", "values": [DISABLED]}]},
                "matchConditions": [
                    {"name": "not-disabled", "expression": f"{_label(ENABLED)} || !({_annotation(DISABLED)})"}
                ],
                "rules": [_PODS],
            },
            {
                **_entry("pods", namespace, PODS, "Fail"),
                "namespaceSelector": {"matchExpressions": [not_asked_for, others]},
                "objectSelector": {"matchExpressions": [{**asked_for, "operator": "NotIn", "values": [DISABLED]}]},
                "matchConditions": [{"name": "enabled", "expression": f"{_label(ENABLED)} || {_annotation(ENABLED)}"}],
                "rules": [_PODS],
            },
            {
                **_entry("workloads", namespace, WORKLOADS, "Ignore"),
                "timeoutSeconds": WARNING_TIMEOUT,
                "namespaceSelector": {"matchExpressions": [others]},
                "objectSelector": {},
                "rules": _WORKLOADS,
            },
        ],
    }


_PODS = {
    "apiGroups": [""],
    "apiVersions": ["v1"],
    "operations": ["CREATE"],
    "resources": ["pods"],
    "scope": "Namespaced",
}
_WORKLOADS = [
    {
        "apiGroups": [group],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": resources,
        "scope": "Namespaced",
    }
    for group, resources in (
        ("apps", ["deployments", "statefulsets", "daemonsets"]),
        ("batch", ["jobs", "cronjobs"]),
    )
]


def _entry(name: str, namespace: str, path: str, failure: str) -> Json:
    """Return what all entries have.

    Called again where a later webhook changed the pod (IfNeeded), which an injected one ends at once.
    """
    return {
        "name": f"{name}.{_SUFFIX}",
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"service": {"name": NAME, "namespace": namespace, "path": path, "port": 443}},
        "failurePolicy": failure,
        "matchPolicy": "Equivalent",
        "reinvocationPolicy": "IfNeeded",
        "sideEffects": "NoneOnDryRun",
        "timeoutSeconds": TIMEOUT,
    }


def _label(value: str) -> str:
    return _has("labels", INJECT, value)


def _annotation(value: str) -> str:
    return _has("annotations", LINKERD_INJECT, value)


def _has(field: str, key: str, value: str) -> str:
    """Return an expression of CEL that is an error for no pod: under Fail an error would keep it from starting."""
    there = f"has(object.metadata.{field}) && '{key}' in object.metadata.{field}"
    return f"({there} && object.metadata.{field}['{key}'] == '{value}')"
