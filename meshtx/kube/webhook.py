"""The MutatingWebhookConfiguration: which pods the API server shows to the injector.

    namespace            pod                          shown
    label enabled        label not disabled           by ``namespaces.…``
    anything else        label enabled                by ``pods.…``
    anything else        Linkerd's annotation         by ``linkerd.…``, if the installation adopts those

All are judged by their labels, which selectors see. So the injector can fail closed: without it, pods that asked for
the mesh wait (``failurePolicy: Fail``), and no other pod does, whatever other mesh it is for. Annotations take an
expression, and are read where that was asked for (`meshtx.kube.adoption`). The last entry is for workloads, whose
authors see warnings, as those of pods do not; it changes nothing and nothing depends on it.

There is no ``caBundle`` here: injectors put it in, so that manifests hold no key and never change by themselves
(`meshtx.kube.serving_rotation`).
"""

from __future__ import annotations

from meshtx.kube.adoption import LINKERD_INJECT
from meshtx.kube.annotations import DISABLED, ENABLED, INJECT
from meshtx.kube.json_patch import Json

NAME = "meshtx-injector"
"""Of the configuration, and of the Service that it calls."""
PODS, WORKLOADS = "/pods", "/workloads"
"""The paths of the Service."""
TIMEOUT, WARNING_TIMEOUT = 10, 2
"""Seconds for a call; the latter where nothing depends on the answer."""
_SUFFIX = "injector.meshtx.io"
_ADOPTED = f"linkerd.{_SUFFIX}"


def webhook_configuration(namespace: str, *, adopt_linkerd: bool = False) -> Json:
    """Return the object.

    :param namespace: of the control plane: its own pods, like those of kube-system, are never shown.
    :param adopt_linkerd: show pods by Linkerd's annotation too.
    """
    asked_for = {"key": INJECT, "operator": "In", "values": [ENABLED]}
    not_asked_for = {**asked_for, "operator": "NotIn"}
    not_left_out = {**not_asked_for, "values": [DISABLED]}
    nothing_said = {"key": INJECT, "operator": "DoesNotExist"}
    others = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", namespace]}
    adopted = {
        **_entry(_ADOPTED, namespace, PODS, "Fail"),
        "namespaceSelector": {"matchExpressions": [not_asked_for, others]},
        "objectSelector": {"matchExpressions": [nothing_said]},
        "matchConditions": [{"name": "enabled", "expression": _annotated(ENABLED)}],
        "rules": [_PODS],
    }
    not_annotated = {"name": "not-disabled", "expression": f"{_LABELLED} || !{_annotated(DISABLED)}"}
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": NAME},
        "webhooks": [
            {
                **_entry(f"namespaces.{_SUFFIX}", namespace, PODS, "Fail"),
                "namespaceSelector": {"matchExpressions": [asked_for, others]},
                "objectSelector": {"matchExpressions": [not_left_out]},
                **({"matchConditions": [not_annotated]} if adopt_linkerd else {}),
                "rules": [_PODS],
            },
            {
                **_entry(f"pods.{_SUFFIX}", namespace, PODS, "Fail"),
                "namespaceSelector": {"matchExpressions": [not_asked_for, others]},
                "objectSelector": {"matchExpressions": [asked_for]},
                "rules": [_PODS],
            },
            *([adopted] if adopt_linkerd else []),
            {
                **_entry(f"workloads.{_SUFFIX}", namespace, WORKLOADS, "Ignore"),
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
        "name": name,
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"service": {"name": NAME, "namespace": namespace, "path": path, "port": 443}},
        "failurePolicy": failure,
        "matchPolicy": "Equivalent",
        "reinvocationPolicy": "IfNeeded",
        "sideEffects": "NoneOnDryRun",
        "timeoutSeconds": TIMEOUT,
    }


def adopts_linkerd(configuration: Json) -> bool:
    """Say whether the object is of an installation that adopts Linkerd's annotations."""
    return any(each["name"] == _ADOPTED for each in configuration.get("webhooks") or ())


# Expressions of CEL that are an error for no pod: under Fail an error would keep it from starting.


def _there(field: str, key: str) -> str:
    return f"has(object.metadata.{field}) && '{key}' in object.metadata.{field}"


def _annotated(value: str) -> str:
    return f"({_there('annotations', LINKERD_INJECT)} && object.metadata.annotations['{LINKERD_INJECT}'] == '{value}')"


_LABELLED = f"({_there('labels', INJECT)})"
