"""Services behind which a meshed pod does not see who its client is."""

from __future__ import annotations

from collections.abc import Sequence

from meshtx.kube.api_errors import Object
from meshtx.kube.checks.outcomes import Check, Group, Outcome, Passed, Warned
from meshtx.kube.checks.snapshot import Snapshot, known, path_of
from meshtx.kube.injection import labels_of
from meshtx.kube.objects import hides_clients
from meshtx.kube.pod_settings import PREFIX


def pods_behind(pods: Sequence[Object], service: Object) -> list[Object]:
    """Return those of the pods that a Service selects."""
    selector = (service.get("spec") or {}).get("selector") or {}
    namespace = service["metadata"]["namespace"]
    return [
        pod
        for pod in pods
        if selector and pod["metadata"]["namespace"] == namespace and selector.items() <= labels_of(pod).items()
    ]


def _clients(snapshot: Snapshot) -> Outcome:
    hiding = [each for each in known(snapshot.services, "Services") if hides_clients(each)]
    pods = snapshot.meshed_pods() if hiding else []
    behind = tuple(f"{path_of(each)}: {each['spec']['type']}" for each in hiding if pods_behind(pods, each))
    if not behind:
        return Passed()
    return Warned(
        "Services of meshed pods that hide the client's address behind that of a node",
        "set externalTrafficPolicy: Local, or let the balancer send PROXY protocol v2 and name its addresses in the"
        f" pods' annotation {PREFIX}proxy-protocol-from: docs/loadbalancers.md",
        behind,
    )


BALANCERS = Group(
    "load-balancers", (Check("clients-seen", "Services from outside leave the client's address as it is", _clients),)
)
