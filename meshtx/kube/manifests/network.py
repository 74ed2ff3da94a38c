"""How the programs are reached, by whom, and how many of them may be away at once."""

from __future__ import annotations

from meshtx.kube.manifests.shapes import (
    ADMIN_PORT,
    DIRECTORY_PORT,
    IDENTITY_PORT,
    TAP_PORT,
    WEBHOOK_PORT,
    Document,
    document,
    labels,
    selector,
)
from meshtx.kube.manifests.values import Program, Values
from meshtx.kube.tap_names import API_SERVICE, GROUP, SERVICE, VERSION
from meshtx.wire.ports import PROXY_ADMIN, PROXY_INBOUND, PROXY_TAP

_PORTS = {
    Program.IDENTITY: (("grpc", IDENTITY_PORT, IDENTITY_PORT),),
    Program.DIRECTORY: (("grpc", DIRECTORY_PORT, DIRECTORY_PORT), ("tap", TAP_PORT, TAP_PORT)),
    Program.INJECTOR: (("https", 443, WEBHOOK_PORT),),
}
"""Name, port of the Service, port of the container."""

_EVERYWHERE = (ADMIN_PORT, PROXY_INBOUND, PROXY_TAP, PROXY_ADMIN)
"""Ports of each pod: the program's admin site, and those of its sidecar."""


def services(values: Values) -> list[Document]:
    """Return each program's Service."""
    return [
        document(
            "v1",
            "Service",
            program.value,
            values.namespace,
            labels(program),
            spec={
                "type": "ClusterIP",
                "selector": selector(program),
                "ports": [
                    {"name": name, "port": port, "targetPort": name, "protocol": "TCP"} for name, port, _ in ports
                ],
            },
        )
        for program, ports in _PORTS.items()
    ]


def policies(values: Values) -> list[Document]:
    """Return who may connect: everybody, to the ports that are served and to no other.

    Sidecars are in every namespace, and API servers come from addresses that no selector knows: who may have what is
    decided behind these ports, by tokens and certificates.
    """
    return [
        document(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            program.value,
            values.namespace,
            labels(program),
            spec={
                "podSelector": {"matchLabels": selector(program)},
                "policyTypes": ["Ingress"],
                "ingress": [
                    {
                        "ports": [
                            {"port": port, "protocol": "TCP"}
                            for port in (*(served for _, _, served in ports), *_EVERYWHERE)
                        ]
                    }
                ],
            },
        )
        for program, ports in _PORTS.items()
    ]


def tap_service(values: Values) -> Document:
    """Return what makes the API server pass requests for taps on; the directory adds the ``caBundle`` itself.

    The API's priorities are of no account: nothing else is in its group.
    """
    spec = {
        "group": GROUP,
        "version": VERSION,
        "groupPriorityMinimum": 1000,
        "versionPriority": 100,
        "service": {"name": SERVICE, "namespace": values.namespace, "port": TAP_PORT},
    }
    return document("apiregistration.k8s.io/v1", "APIService", API_SERVICE, None, labels(Program.DIRECTORY), spec=spec)


def budgets(values: Values) -> list[Document]:
    """Return that nodes may be emptied as long as one pod of a program at a time goes."""
    return [
        document(
            "policy/v1",
            "PodDisruptionBudget",
            program.value,
            values.namespace,
            labels(program),
            spec={"maxUnavailable": 1, "selector": {"matchLabels": selector(program)}},
        )
        for program in Program
    ]
