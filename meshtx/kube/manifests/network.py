"""How the programs are reached, by whom, and how many of them may be away at once."""

from __future__ import annotations

from meshtx.kube.manifests.shapes import (
    ADMIN_PORT,
    DIRECTORY_PORT,
    IDENTITY_PORT,
    WEBHOOK_PORT,
    Document,
    document,
    labels,
    selector,
)
from meshtx.kube.manifests.values import Program, Values
from meshtx.kube.sidecar import ADMIN, INBOUND, TAP

_PORTS = {
    Program.IDENTITY: ("grpc", IDENTITY_PORT, IDENTITY_PORT),
    Program.DIRECTORY: ("grpc", DIRECTORY_PORT, DIRECTORY_PORT),
    Program.INJECTOR: ("https", 443, WEBHOOK_PORT),
}
"""Name, port of the Service, port of the container."""

_EVERYWHERE = (ADMIN_PORT, INBOUND, TAP, ADMIN)
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
                "ports": [{"name": name, "port": port, "targetPort": name, "protocol": "TCP"}],
            },
        )
        for program, (name, port, _) in _PORTS.items()
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
                "ingress": [{"ports": [{"port": port, "protocol": "TCP"} for port in (served, *_EVERYWHERE)]}],
            },
        )
        for program, (_, _, served) in _PORTS.items()
    ]


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
