"""Pods that let in proven peers alone, and whoever is known to need in and proves nothing.

The kubelet has no certificate, and neither has a client from outside the cluster. Which unmeshed pods are clients
nobody can see from here, so nothing is said of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from meshtx.kube.annotations import SKIP_INBOUND
from meshtx.kube.api_errors import Object
from meshtx.kube.checks.balancers import pods_behind
from meshtx.kube.checks.outcomes import Check, Failed, Group, Outcome, Passed, Warned
from meshtx.kube.checks.snapshot import Snapshot, containers_of, known, path_of
from meshtx.kube.injection import annotations_of, named_ports
from meshtx.kube.objects import comes_from_outside
from meshtx.kube.pod_settings import BY_AUTHOR, PREFIX
from meshtx.kube.ports import among, parse_ports
from meshtx.kube.probes import KINDS, port_number
from meshtx.kube.sidecar import PROXY
from meshtx.wire.ports import PROXY_ADMIN

_POLICY = BY_AUTHOR["inbound-policy"]
_OPEN = _POLICY.default
"""The policy that lets everybody in."""
_HOOKS = ("postStart", "preStop")
_REFUSED = ("httpGet", "grpc")
"""Actions that a policy refuses; ``tcpSocket`` asks for no more than that the connection is taken."""


def _closed_pods(snapshot: Snapshot) -> list[Object]:
    """Return the meshed pods whose proxy, as it runs, lets in proven peers alone.

    :raises NotKnown: pods may not be read.
    """
    return [pod for pod in snapshot.meshed_pods() if _policy(pod) != _OPEN]


def _policy(pod: Object) -> str:
    variables = {each["name"]: each.get("value") for each in containers_of(pod)[PROXY].get("env") or ()}
    return variables.get(_POLICY.variable) or _OPEN


def _is_refused(pod: Object, port: int) -> bool:
    """Say whether a peer that proves nothing is refused at a port of such a pod; 0 is none."""
    skipped = parse_ports(annotations_of(pod).get(PREFIX + SKIP_INBOUND, ""), named_ports(pod))
    return port not in {0, PROXY_ADMIN} and not among(port, skipped)


def _kubelet(snapshot: Snapshot) -> Outcome:
    refused = tuple(
        f"{path_of(pod)}: {what} of container {name}, at port {port}"
        for pod in _closed_pods(snapshot)
        for name, container in containers_of(pod).items()
        for what, port in _asked(container)
        if _is_refused(pod, port)
    )
    if not refused:
        return Passed()
    return Failed(
        f"pods that let in proven peers alone refuse the kubelet, which proves nothing ({PREFIX}{_POLICY.dashed})",
        "probes: make the pods anew, with a native proxy, and it makes them; hooks by httpGet: write exec; or name the"
        f" port in {PREFIX}{SKIP_INBOUND}",
        refused,
    )


def _asked(container: Object) -> Iterator[tuple[str, int]]:
    """Give what the kubelet itself asks of a container, and at which port."""
    probes = ((f"the {word} probe", container.get(field) or {}) for field, word in KINDS.items())
    hooks = ((f"the hook {name}", (container.get("lifecycle") or {}).get(name) or {}) for name in _HOOKS)
    for what, asked in (*probes, *hooks):
        for action in _REFUSED:
            if asked.get(action) and not asked[action].get("host"):
                yield what, port_number(asked[action].get("port"), container)


def _outside(snapshot: Snapshot) -> Outcome:
    services = [each for each in known(snapshot.services, "Services") if comes_from_outside(each)]
    pods = _closed_pods(snapshot) if services else []
    refused = tuple(text for service in services for text in _refusing(service, pods_behind(pods, service)))
    if not refused:
        return Passed()
    return Warned(
        "Services from outside lead to pods that let in proven peers alone, and clients from there prove nothing",
        f"let them in with {PREFIX}{_POLICY.dashed}: {_OPEN}, or past the proxy with"
        f" {PREFIX}{SKIP_INBOUND}; or have them come to a meshed pod that does, such as an ingress controller",
        refused,
    )


def _refusing(service: Object, pods: list[Object]) -> Iterator[str]:
    """Give each port of a Service that leads to one of these pods' where its clients are refused."""
    spec = service["spec"]
    for port in (each for each in spec.get("ports") or () if each.get("protocol", "TCP") == "TCP"):
        target = port.get("targetPort") or port["port"]
        found = ((pod, named_ports(pod).get(target, 0) if isinstance(target, str) else target) for pod in pods)
        behind = [(path_of(pod), number) for pod, number in found if _is_refused(pod, number)]
        if behind:
            pod, number = behind[0]
            more = f" and {len(behind) - 1} more pods" if behind[1:] else ""
            yield f"{path_of(service)}: {spec['type']}, port {port['port']}: leads to port {number} of {pod}{more}"


POLICIES = Group(
    "policies",
    (
        Check("kubelet-let-in", "no pod's policy shuts its kubelet out", _kubelet),
        Check("outside-let-in", "no pod's policy shuts out whom a Service brings from outside", _outside),
    ),
)
