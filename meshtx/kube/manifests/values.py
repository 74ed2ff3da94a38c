"""What can be chosen about the control plane: plain values, as the documents need them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from meshtx import __version__
from meshtx.kube.annotations import Resources as SidecarResources
from meshtx.kube.sidecar import Family
from meshtx.pki.name import Name


class Program(StrEnum):
    """A program of the control plane; its account, Deployment and Service have the same name."""

    IDENTITY = "meshtx-identity"
    DIRECTORY = "meshtx-directory"
    INJECTOR = "meshtx-injector"

    @property
    def role(self) -> str:
        """The name without the mesh's."""
        return self.value.removeprefix("meshtx-")


class PullPolicy(StrEnum):
    """When a node fetches an image (Kubernetes' ``imagePullPolicy``)."""

    IF_NOT_PRESENT = "IfNotPresent"
    ALWAYS = "Always"
    NEVER = "Never"


@dataclass(frozen=True)
class Resources:
    """What a container asks for and may use at most: ``cpu`` and ``memory`` to Kubernetes' quantities."""

    requests: Mapping[str, str] = field(default_factory=lambda: {"cpu": "100m", "memory": "64Mi"})
    limits: Mapping[str, str] = field(default_factory=lambda: {"memory": "256Mi"})


@dataclass(frozen=True)
class Trust:
    """What the mesh's certificates are issued by and believed for, each as PEM text.

    :param digest: of the anchors, `meshtx.pki.bundle.TrustBundle.digest`.
    :param issuer: the issuer's certificate, and what is between it and its anchor.
    """

    anchors: str
    digest: str
    issuer: str
    issuer_key: str = field(repr=False)


@dataclass(frozen=True)
class Sidecar:
    """What every pod's sidecar is given, unless annotations say otherwise.

    :param metrics_names: who may read its metrics.
    """

    log_level: str = "info"
    resources: SidecarResources = field(default_factory=SidecarResources)
    metrics_names: tuple[Name, ...] = ()


@dataclass(frozen=True)
class Values:
    """One control plane.

    :param trust: ``None`` leaves out the issuer's Secret and the anchors' ConfigMap: what is in the cluster stays.
    :param replicas: pods of each program.
    :param spread: no two pods of a program on one node.
    :param certificate_lifetime: of workloads, in the spelling of the configuration.
    :param cluster_networks: where the mesh may be; none: what the directory takes without it.
    :param balancer_networks: which connect for others.
    :param family: of the pods' addresses.
    :param plaintext_metrics: everybody may read those of the programs.
    :param adopt_linkerd: pods by Linkerd's annotations are ours.
    """

    trust: Trust | None = None
    namespace: str = "meshtx"
    trust_domain: str = "cluster.local"
    image: str = f"meshtx:{__version__}"
    pull_policy: PullPolicy = PullPolicy.IF_NOT_PRESENT
    pull_secrets: tuple[str, ...] = ()
    priority_class: str | None = None
    replicas: int = 1
    spread: bool = False
    certificate_lifetime: str = "24h"
    cluster_domain: str = "cluster.local"
    cluster_networks: tuple[str, ...] = ()
    balancer_networks: tuple[str, ...] = ()
    family: Family = Family.IPV4
    plaintext_metrics: bool = False
    adopt_linkerd: bool = False
    sidecar: Sidecar = field(default_factory=Sidecar)
    resources: Mapping[Program, Resources] = field(default_factory=dict)
