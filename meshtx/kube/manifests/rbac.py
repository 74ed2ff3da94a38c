"""Who may do what: one account a program, and no right that its program does not use.

Nobody may do anything with a Secret by these rules. The issuer's key is mounted into identity's pods, and into no
other; so who may make pods in the control plane's namespace can read it too. What API servers call has its keys in
memory alone (`meshtx.kube.serving_certificate`). A sidecar has no rights, and no token of its workload.
"""

from __future__ import annotations

from dataclasses import dataclass

from meshtx.kube.front_proxy import CONFIG_MAP as FRONT_PROXY
from meshtx.kube.front_proxy import NAMESPACE
from meshtx.kube.manifests.shapes import Document, document, labels
from meshtx.kube.manifests.values import Program, Values
from meshtx.kube.tap_names import API_SERVICE, GROUP
from meshtx.kube.tap_target import RESOURCES, SUBRESOURCE, VERB, WHOLE
from meshtx.kube.webhook import NAME as WEBHOOK

_API = "rbac.authorization.k8s.io/v1"
_GROUP = "rbac.authorization.k8s.io"


@dataclass(frozen=True, slots=True)
class Rule:
    """Verbs on one kind of object.

    :param group: the API's, empty for the first one.
    :param names: only of these names; empty: of any.
    """

    group: str
    resource: str
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()

    def as_json(self) -> Document:
        """Return it as a role has it."""
        names = {"resourceNames": list(self.names)} if self.names else {}
        return {"apiGroups": [self.group], "resources": [self.resource], **names, "verbs": list(self.verbs)}


_FOLLOW = ("list", "watch")
_EVENTS = Rule("", "events", ("create", "patch"))

CLUSTER: dict[Program, tuple[Rule, ...]] = {
    Program.IDENTITY: (Rule("authentication.k8s.io", "tokenreviews", ("create",)),),
    Program.DIRECTORY: (
        Rule("", "pods", _FOLLOW),
        Rule("", "services", _FOLLOW),
        Rule("", "nodes", _FOLLOW),
        Rule("discovery.k8s.io", "endpointslices", _FOLLOW),
        Rule("networking.k8s.io", "servicecidrs", _FOLLOW),
        Rule("authorization.k8s.io", "subjectaccessreviews", ("create",)),
        Rule("apiregistration.k8s.io", "apiservices", ("get", "patch"), (API_SERVICE,)),
    ),
    Program.INJECTOR: (
        Rule("", "namespaces", ("get", *_FOLLOW)),
        _EVENTS,
        Rule("admissionregistration.k8s.io", "mutatingwebhookconfigurations", ("get", "patch"), (WEBHOOK,)),
    ),
}
"""In every namespace, and on what belongs to none."""

OWN: dict[Program, tuple[Rule, ...]] = {
    Program.IDENTITY: (_EVENTS,),
    Program.DIRECTORY: (),
    Program.INJECTOR: (),
}
"""In the control plane's own namespace."""

SYSTEM: dict[Program, tuple[Rule, ...]] = {
    Program.IDENTITY: (),
    Program.DIRECTORY: (Rule("", "configmaps", ("get",), (FRONT_PROXY,)),),
    Program.INJECTOR: (),
}
"""In ``kube-system``."""

TAPPERS = "meshtx-tap"
"""A role for users, which nobody has by itself: requests may be seen by it, and their headers."""


def accounts(values: Values) -> list[Document]:
    """Return each program's ServiceAccount."""
    return [
        document(
            "v1",
            "ServiceAccount",
            program.value,
            values.namespace,
            labels(program),
            automountServiceAccountToken=False,
        )
        for program in Program
    ]


def roles(values: Values) -> list[Document]:
    """Return the roles and who has them."""
    return [
        each
        for program in Program
        for each in (
            *_roles(values, program, CLUSTER[program]),
            *_roles(values, program, OWN[program], values.namespace),
            *_roles(values, program, SYSTEM[program], NAMESPACE),
        )
    ] + [_tappers()]


def _tappers() -> Document:
    resources = [f"{each}/{SUBRESOURCE}" for each in RESOURCES]
    rule = {"apiGroups": [GROUP], "resources": [*resources, WHOLE], "verbs": [VERB]}
    return document(_API, "ClusterRole", TAPPERS, None, labels(Program.DIRECTORY), rules=[rule])


def _roles(values: Values, program: Program, rules: tuple[Rule, ...], namespace: str | None = None) -> list[Document]:
    if not rules:
        return []
    prefix = "" if namespace else "Cluster"
    name = f"{program.value}-front-proxy" if namespace == NAMESPACE else program.value
    subject = {"kind": "ServiceAccount", "name": program.value, "namespace": values.namespace}
    return [
        document(
            _API,
            f"{prefix}Role",
            name,
            namespace,
            labels(program),
            rules=[rule.as_json() for rule in rules],
        ),
        document(
            _API,
            f"{prefix}RoleBinding",
            name,
            namespace,
            labels(program),
            roleRef={"apiGroup": _GROUP, "kind": f"{prefix}Role", "name": name},
            subjects=[subject],
        ),
    ]
