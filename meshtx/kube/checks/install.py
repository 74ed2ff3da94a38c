"""Whether the control plane can be installed: by this user, and where it is to be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from meshtx.kube.annotations import POD_SECURITY
from meshtx.kube.api_errors import Object
from meshtx.kube.checks.outcomes import Check, Failed, Group, Outcome, Passed, Warned
from meshtx.kube.checks.resources import RESOURCES, namespace_of
from meshtx.kube.checks.snapshot import Found, Snapshot, expected
from meshtx.kube.injection import labels_of
from meshtx.kube.self_check import Rule

APPLY = ("get", "create", "patch")
"""What ``kubectl apply`` does."""

REFUSING = {"baseline", "restricted"}
"""Levels of Pod Security that have no room for NET_ADMIN."""

_ROLES = ("ClusterRole", "Role")


def needed_rights(documents: Iterable[Object]) -> list[Rule]:
    """Return what a user needs to apply these documents, each once."""
    every = list(documents)
    return list(dict.fromkeys([*_to_apply(every), *_to_grant_any(every), *granted(every)]))


def _to_apply(documents: Iterable[Object]) -> Iterator[Rule]:
    for each in documents:
        for verb in APPLY:
            yield RESOURCES[each["kind"]].rule(verb, namespace_of(each))


def _to_grant_any(documents: Iterable[Object]) -> Iterator[Rule]:
    """Give the rights that allow to grant what one has not (Kubernetes: escalate, bind)."""
    for each in documents:
        if each["kind"] in _ROLES:
            for verb in ("escalate", "bind"):
                yield RESOURCES[each["kind"]].rule(verb, namespace_of(each))


def granted(documents: Iterable[Object]) -> Iterator[Rule]:
    """Give what the roles among these documents allow."""
    for each in documents:
        if each["kind"] in _ROLES:
            yield from rules_of(each)


def rules_of(role: Object) -> list[Rule]:
    """Return what a role allows, one verb on one resource each."""
    return [
        Rule(verb, resource, group, namespace_of(role), name)
        for rule in role.get("rules") or ()
        for group in rule.get("apiGroups") or ()
        for resource in rule.get("resources") or ()
        for name in rule.get("resourceNames") or [""]
        for verb in rule.get("verbs") or ()
    ]


def _not_there(snapshot: Snapshot) -> Outcome:
    there = [str(key) for key, read in snapshot.objects.items() if key.kind != "Namespace" and isinstance(read, Found)]
    if not there:
        snapshot.demand_read(*{key.kind for key in snapshot.objects})
        return Passed()
    return Failed(
        "an installation, or a part of one, is there already",
        "look at it with 'meshtx check'; remove it with 'meshtx uninstall'; applying over it is an upgrade",
        tuple(there),
    )


def _may_apply(snapshot: Snapshot) -> Outcome:
    return _lacking(
        snapshot,
        _to_apply(expected(snapshot.namespace).values()),
        "the user lacks rights to apply what 'meshtx install' prints",
        "let somebody with these rights apply it (cluster-admin has them)",
    )


def _may_grant(snapshot: Snapshot) -> Outcome:
    every = list(expected(snapshot.namespace).values())
    if all(snapshot.rights[rule] for rule in _to_grant_any(every)):
        return Passed()
    return _lacking(
        snapshot,
        granted(every),
        "the user lacks rights that the control plane's roles grant, and nobody can grant what they have not",
        "let somebody with these rights apply it, or who may escalate and bind roles (cluster-admin may)",
    )


def _lacking(snapshot: Snapshot, needed: Iterable[Rule], problem: str, hint: str) -> Outcome:
    lacking = tuple(dict.fromkeys(str(rule) for rule in needed if not snapshot.rights[rule]))
    return Failed(problem, hint, lacking) if lacking else Passed()


def _pod_security(snapshot: Snapshot) -> Outcome:
    read = snapshot.objects[snapshot.key("Namespace", snapshot.namespace)]
    level = labels_of(read.value).get(POD_SECURITY) if isinstance(read, Found) else None
    if level not in REFUSING:
        snapshot.demand_read("Namespace")
        return Passed()
    return Warned(
        f"namespace {snapshot.namespace} enforces {level!r}, which refuses pods with NET_ADMIN",
        f"the manifests set {POD_SECURITY} to privileged: see that nothing sets it back",
    )


INSTALL = Group(
    "install",
    (
        Check("not-installed", "no control plane is there yet", _not_there),
        Check("may-apply", "the user may apply the manifests", _may_apply),
        Check("may-grant", "the user may grant the control plane's rights", _may_grant),
        Check("namespace-pod-security", "Pod Security lets the control plane's pods in", _pod_security),
    ),
)
