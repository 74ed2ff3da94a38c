"""What ``meshtx install`` can be told: by a TOML file of values, then by flags; the flags win."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import product
from pathlib import Path
from typing import ClassVar

from meshtx.config_checks import excludes, needs
from meshtx.config_identity import SHORTEST_LIFETIME
from meshtx.config_load import ProgramConfig, optional, setting
from meshtx.config_values import (
    COUNT,
    DOMAIN,
    DURATION,
    FILE,
    FLAG,
    NAME,
    NAMESPACE,
    NETWORK,
    NEW_FOLDER,
    TRUST_DOMAIN,
    Kind,
    choice,
    domain,
    listed,
)
from meshtx.errors import ConfigError, nearest
from meshtx.kube.annotations import Resources as SidecarResources
from meshtx.kube.annotations import amount
from meshtx.kube.manifests.values import Program, PullPolicy, Resources, Sidecar, Trust, Values
from meshtx.kube.quantity import canonical
from meshtx.kube.serving_certificate import NEAR
from meshtx.kube.settings.injector import IMAGE, LIMIT, QUANTITY, LogLevel
from meshtx.kube.sidecar import Family
from meshtx.pki.name import MAX_LENGTH, InvalidName, MeshScope, Name
from meshtx.wire.network import Network

_RESOURCES = ("cpu", "memory")

MANY = 3
"""Replicas of each program where one may be lost with its node: one can be replaced, one lost meanwhile."""
MOST_REPLICAS = NEAR // 4
"""Each has two authorities when it renews its certificate, and a rollout may start as many replicas again: what API
servers believe has room for all of them at once."""


@dataclass(frozen=True, slots=True)
class Amount:
    """How much of one resource: ``cpu=100m``."""

    resource: str
    quantity: str

    @classmethod
    def parse(cls, text: str) -> Amount:
        """Read ``cpu=100m`` or ``memory=64Mi``.

        :raises ValueError: it is neither.
        """
        resource, equals, quantity = (part.strip() for part in text.partition("="))
        if not equals:
            raise ValueError(f"{text!r} has no '='")
        if resource not in _RESOURCES:
            raise ValueError(f"unknown resource {resource!r}; {nearest(resource, _RESOURCES)}")
        amount(quantity)
        return cls(resource, quantity)


def _object(text: str) -> str:
    try:
        return domain(text)
    except ValueError:
        raise ValueError(f"{text!r} is no object name") from None


OBJECT = Kind("OBJECT-NAME", "meshtx", _object)
AMOUNT = Kind("RESOURCE=QUANTITY", "cpu=100m,memory=64Mi", Amount.parse)


@dataclass(frozen=True)
class InstallConfig(ProgramConfig):
    """The control plane, as ``meshtx install`` prints it."""

    program: ClassVar[str] = "install"
    prefix: ClassVar[str] = "MESHTX_INSTALL_"

    namespace: str = setting(NAMESPACE, "meshtx", "The control plane's namespace, a part of every name in the mesh.")
    trust_domain: str = setting(
        TRUST_DOMAIN, "cluster.local", "The trust domain, the last part of every name in the mesh."
    )

    ca_folder: Path | None = optional(
        NEW_FOLDER, "Take the issuer from this folder of 'meshtx ca init'; make it if it is not there."
    )
    issuer_certificate: Path | None = optional(FILE, "The issuer's certificate and its parents, in a PEM file.")
    issuer_key: Path | None = optional(FILE, "The private key of the issuer, in a PEM file.")
    trust_anchors: Path | None = optional(FILE, "The mesh's trust anchors, in a PEM file.")
    keep_issuer: bool = setting(
        FLAG, "false", "Leave out the issuer and the trust anchors: those in the cluster stay as they are."
    )

    image: str = setting(IMAGE, Values().image, "The image of every program.")
    image_pull_policy: PullPolicy = setting(
        choice(PullPolicy), PullPolicy.IF_NOT_PRESENT.value, "When nodes fetch the image."
    )
    image_pull_secrets: tuple[str, ...] = setting(
        listed(OBJECT), "", "Secrets, in the control plane's namespace, that the image is fetched with."
    )

    ha: bool = setting(FLAG, "false", f"{MANY} replicas of each program, no two of one on the same node.")
    replicas: int | None = optional(COUNT, "Pods of each program, if neither 1 nor what --ha takes.")
    priority_class: str | None = optional(OBJECT, "The PriorityClass of the control plane's pods.")
    certificate_lifetime: timedelta = setting(DURATION, "24h", "How long a workload's certificate is valid.")

    cluster_domain: str = setting(DOMAIN, "cluster.local", "The domain of the cluster's DNS.")
    cluster_networks: tuple[Network, ...] = setting(
        listed(NETWORK),
        "",
        "Where addresses may be meshed, beside what the cluster tells; private networks unless set.",
    )
    balancer_networks: tuple[Network, ...] = setting(
        listed(NETWORK), "", "Load balancers, which connect for others; the cluster does not tell where they are."
    )

    identity_requests: tuple[Amount, ...] = setting(listed(AMOUNT), "cpu=100m,memory=64Mi", "What identity asks for.")
    identity_limits: tuple[Amount, ...] = setting(listed(AMOUNT), "memory=256Mi", "What identity may use.")
    directory_requests: tuple[Amount, ...] = setting(
        listed(AMOUNT), "cpu=100m,memory=128Mi", "What the directory asks for."
    )
    directory_limits: tuple[Amount, ...] = setting(listed(AMOUNT), "memory=512Mi", "What the directory may use.")
    injector_requests: tuple[Amount, ...] = setting(
        listed(AMOUNT), "cpu=100m,memory=64Mi", "What the injector asks for."
    )
    injector_limits: tuple[Amount, ...] = setting(listed(AMOUNT), "memory=256Mi", "What the injector may use.")

    ip_family: Family = setting(choice(Family), "ipv4", "Of the addresses that pods have.")
    proxy_log_level: LogLevel = setting(choice(LogLevel), "info", "From here on sidecars write their log.")
    proxy_cpu_request: str = setting(QUANTITY, SidecarResources().cpu_request, "Of a sidecar, as the next three.")
    proxy_cpu_limit: str | None = setting(LIMIT, str(SidecarResources().cpu_limit), "See proxy_cpu_request.")
    proxy_memory_request: str = setting(QUANTITY, SidecarResources().memory_request, "See proxy_cpu_request.")
    proxy_memory_limit: str | None = setting(LIMIT, str(SidecarResources().memory_limit), "See proxy_cpu_request.")
    metrics_identity: tuple[Name, ...] = setting(
        listed(NAME), "", "The names that may read the sidecars' metrics over mutual TLS."
    )
    admin_plaintext_metrics: bool = setting(
        FLAG, "false", "Serve the control plane's own metrics without TLS, to everybody."
    )
    adopt_linkerd_annotations: bool = setting(
        FLAG, "false", "Mesh pods by Linkerd's annotation linkerd.io/inject too, and read its lists of ports."
    )

    def check(self) -> None:
        """Judge the values together."""
        try:
            for program in Program:
                self.scope.name(self.namespace, program.value)
        except InvalidName as error:
            raise ConfigError("namespace, trust_domain", str(error), "write DNS labels") from None
        given = [key for key in ("issuer_certificate", "issuer_key", "trust_anchors") if getattr(self, key) is not None]
        if given:
            needs(self, "a given issuer", "issuer_certificate", "issuer_key", "trust_anchors")
            excludes(self, "a given issuer", "ca_folder")
        if self.keep_issuer:
            excludes(self, "keep_issuer", "ca_folder", *given)
        self._check_replicas()
        _check_once("image_pull_secrets", self.image_pull_secrets, "secret")
        if self.certificate_lifetime < SHORTEST_LIFETIME:
            raise ConfigError(
                "certificate_lifetime", f"shorter than {SHORTEST_LIFETIME.seconds} s", "give certificates more time"
            )
        self._check_amounts()
        longest = max(len(f"{program}.{self.namespace}.svc.{self.cluster_domain}") for program in Program)
        if longest > MAX_LENGTH:
            raise ConfigError(
                "cluster_domain",
                f"the names of Services would have {longest} octets, at most {MAX_LENGTH}",
                "write the domain of the cluster's DNS",
            )

    def check_issuer(self, not_after: datetime, now: datetime) -> None:
        """Judge the lifetime of certificates by the issuer's: identity lets none outlive it, and would fall short.

        :param not_after: of the issuer; aware, as is `now`.
        :raises ConfigError: workloads would not get what is asked for, not even today.
        """
        if self.certificate_lifetime > not_after - now:
            raise ConfigError(
                "certificate_lifetime",
                f"longer than the issuer, which is valid until {not_after:%Y-%m-%dT%H:%M:%SZ}",
                "shorten it, or name an issuer that is valid longer",
            )

    def _check_replicas(self) -> None:
        if self.ha and self.replicas == 1:
            raise ConfigError("replicas", "1 is not what --ha means", f"remove it: --ha has {MANY}")
        if self.replicas is not None and self.replicas > MOST_REPLICAS:
            raise ConfigError(
                "replicas", f"more than {MOST_REPLICAS} of a program", f"{MANY} survive the loss of a node"
            )

    def _check_amounts(self) -> None:
        for program, what in product(Program, ("requests", "limits")):
            key = f"{program.role}_{what}"
            _check_once(key, (each.resource for each in getattr(self, key)), "resource")
        for key, requests, limits in self._amounts():
            for resource in requests.keys() & limits.keys():
                asked, limit = requests[resource], limits[resource]
                if amount(asked) > amount(limit):
                    raise ConfigError(key, f"{resource} {limit} is less than the {asked} asked for", "raise it")

    @property
    def scope(self) -> MeshScope:
        """The last part of every name in the mesh."""
        return MeshScope(self.namespace, self.trust_domain)

    @property
    def proxy_resources(self) -> SidecarResources:
        """What a sidecar asks for, unless annotations say otherwise."""
        cpu, memory = self.proxy_cpu_limit, self.proxy_memory_limit
        return SidecarResources(
            cpu_request=canonical(self.proxy_cpu_request),
            cpu_limit=cpu and canonical(cpu),
            memory_request=canonical(self.proxy_memory_request),
            memory_limit=memory and canonical(memory),
        )

    def _amounts(self) -> Iterator[tuple[str, Mapping[str, str], Mapping[str, str]]]:
        """Yield the key of limits, what is asked for and what may be used, of each container."""
        for program in Program:
            yield f"{program.role}_limits", self._requests(program), self._limits(program)
        manifest = self.proxy_resources.manifest()
        yield "proxy_cpu_limit, proxy_memory_limit", manifest["requests"], manifest["limits"]

    def _requests(self, program: Program) -> Mapping[str, str]:
        return _quantities(getattr(self, f"{program.role}_requests"))

    def _limits(self, program: Program) -> Mapping[str, str]:
        return _quantities(getattr(self, f"{program.role}_limits"))

    def values(self, trust: Trust | None) -> Values:
        """Return what the manifests are made from."""
        return Values(
            trust=trust,
            namespace=self.namespace,
            trust_domain=self.trust_domain,
            image=self.image,
            pull_policy=self.image_pull_policy,
            pull_secrets=self.image_pull_secrets,
            priority_class=self.priority_class,
            replicas=self.replicas or (MANY if self.ha else 1),
            spread=self.ha,
            certificate_lifetime=_seconds(self.certificate_lifetime),
            cluster_domain=self.cluster_domain,
            cluster_networks=tuple(map(str, self.cluster_networks)),
            balancer_networks=tuple(map(str, self.balancer_networks)),
            family=self.ip_family,
            sidecar=Sidecar(self.proxy_log_level.value, self.proxy_resources, self.metrics_identity),
            plaintext_metrics=self.admin_plaintext_metrics,
            adopt_linkerd=self.adopt_linkerd_annotations,
            resources={program: Resources(self._requests(program), self._limits(program)) for program in Program},
        )


def _check_once(key: str, words: Iterable[str], what: str) -> None:
    """Insist that none is given twice: API servers tell the objects of such a list apart by their names."""
    for word, times in Counter(words).items():
        if times > 1:
            raise ConfigError(key, f"{word} is given {times} times", f"give each {what} once")


def _seconds(length: timedelta) -> str:
    return f"{length.total_seconds():f}".rstrip("0").rstrip(".") + "s"


def _quantities(amounts: tuple[Amount, ...]) -> Mapping[str, str]:
    return {each.resource: canonical(each.quantity) for each in amounts}
