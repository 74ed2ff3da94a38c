"""Who may do what: one account a program, and no right that its program does not use.

Nobody may read a Secret by these rules but the injector the one that it keeps its serving certificate in. The
issuer's key is mounted into identity's pods, and into no other; so who may make pods in the control plane's
namespace can read it too. A sidecar has no rights, and no token of its workload.

`create` cannot be limited to names, which is why the injector's Secret comes empty with the manifests.
"""

from __future__ import annotations

from dataclasses import dataclass

from meshtx.kube.manifests.shapes import INJECTOR_SECRET, Document, document, labels
from meshtx.kube.manifests.values import Program, Values
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
    Program.INJECTOR: (Rule("", "secrets", ("get", "update"), (INJECTOR_SECRET,)),),
}
"""In the control plane's own namespace."""


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
        for each in (*_roles(values, program, None), *_roles(values, program, values.namespace))
    ]


def _roles(values: Values, program: Program, namespace: str | None) -> list[Document]:
    rules = (OWN if namespace else CLUSTER)[program]
    if not rules:
        return []
    prefix = "" if namespace else "Cluster"
    subject = {"kind": "ServiceAccount", "name": program.value, "namespace": values.namespace}
    return [
        document(
            _API,
            f"{prefix}Role",
            program.value,
            namespace,
            labels(program),
            rules=[rule.as_json() for rule in rules],
        ),
        document(
            _API,
            f"{prefix}RoleBinding",
            program.value,
            namespace,
            labels(program),
            roleRef={"apiGroup": _GROUP, "kind": f"{prefix}Role", "name": program.value},
            subjects=[subject],
        ),
    ]
