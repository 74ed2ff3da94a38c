"""The sidecars of the control plane itself: rendered here, because nothing may depend on an injector to start it.

What the three programs say to each other and to the API has TLS of its own and passes the sidecar by; what comes
to their other ports is meshed as anywhere. Their sidecars get certificates and answers from them, in the same pod even:
a program waits until its sidecar runs, which makes its probes, and for nothing that the sidecar waits for itself.
"""

from __future__ import annotations

from meshtx import __version__
from meshtx.kube.annotations import SKIP_INBOUND, SKIP_OUTBOUND, TRUST_ROOT
from meshtx.kube.injection import Injected, inject
from meshtx.kube.manifests.shapes import (
    DIRECTORY_PORT,
    IDENTITY_PORT,
    TAP_PORT,
    TRUST_CONFIG_MAP,
    TRUST_KEY,
    WEBHOOK_PORT,
    Document,
)
from meshtx.kube.manifests.values import Program, Values
from meshtx.kube.pod_settings import PREFIX
from meshtx.kube.sidecar import PROXY, ConfigMapKey, Family
from meshtx.kube.sidecar import Values as SidecarValues
from meshtx.pki.name import MeshScope
from meshtx.wire.ports import PROXY_TAP

SERVED = {
    Program.IDENTITY: (IDENTITY_PORT,),
    Program.DIRECTORY: (DIRECTORY_PORT, TAP_PORT),
    Program.INJECTOR: (WEBHOOK_PORT,),
}
"""The ports of each program that have TLS of their own; the first one is the mesh's."""

LOOPBACK = {Family.IPV4: "127.0.0.1", Family.DUAL: "127.0.0.1", Family.IPV6: "[::1]"}

STARTING = {"initialDelaySeconds": 2, "periodSeconds": 1, "failureThreshold": 300}
"""Of startup probes: five minutes. To kill what starts slowly on a busy node only makes the node busier."""

_ASKED = (443, 6443, IDENTITY_PORT, DIRECTORY_PORT, PROXY_TAP)
"""Ports that they connect to: the API's, as a Service and as it is behind it; identity's; the directory's; taps."""

_WAITED_FOR = ("lifecycle", "readinessProbe")


def meshed(template: Document, values: Values, program: Program) -> Document:
    """Return a program's pod template with its sidecar."""
    marked = {
        **template,
        "metadata": {
            **template["metadata"],
            "annotations": {
                f"{PREFIX}{SKIP_INBOUND}": ",".join(map(str, SERVED[program])),
                f"{PREFIX}{SKIP_OUTBOUND}": ",".join(map(str, _ASKED)),
            },
        },
    }
    outcome = inject(marked, values.namespace, {}, _sidecar(values, program))
    if not isinstance(outcome, Injected):
        raise TypeError(f"a pod of {program} cannot be meshed: {outcome}")  # its template is ours
    pod = outcome.pod
    if not values.trust:
        del pod["metadata"]["annotations"][TRUST_ROOT]  # only the cluster knows which anchors it has
    for container in pod["spec"]["initContainers"]:
        if container["name"] == PROXY:
            for part in _WAITED_FOR:
                del container[part]
            container["startupProbe"] = {"httpGet": container["livenessProbe"]["httpGet"], **STARTING}
    return pod


def _sidecar(values: Values, program: Program) -> SidecarValues:
    return SidecarValues(
        image=values.image,
        version=__version__,
        trust_anchors="",
        trust_digest=values.trust.digest if values.trust else "",
        identity_address=_address(values, program, Program.IDENTITY),
        directory_address=_address(values, program, Program.DIRECTORY),
        scope=MeshScope(values.namespace, values.trust_domain),
        pull_policy=values.pull_policy.value,
        resources=values.sidecar.resources,
        log_level=values.sidecar.log_level,
        family=values.family,
        metrics_names=values.sidecar.metrics_names,
        anchors_from=ConfigMapKey(TRUST_CONFIG_MAP, TRUST_KEY),
    )


def _address(values: Values, here: Program, there: Program) -> str:
    if here is not there:
        return service_address(values, there)
    return f"{LOOPBACK[values.family]}:{SERVED[there][0]}"


def service_address(values: Values, program: Program) -> str:
    """Return where a program's Service is, by a name that means the same in every pod."""
    return f"{program}.{values.namespace}.svc.{values.cluster_domain}:{SERVED[program][0]}"
