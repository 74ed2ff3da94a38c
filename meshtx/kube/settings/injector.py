"""What the injector can be told: ``twistd meshinjector``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from meshtx.config_checks import check_distinct, needs
from meshtx.config_load import optional, setting
from meshtx.config_values import (
    ADDRESS,
    ENDPOINT,
    FILE,
    FLAG,
    NAME,
    NAMESPACE,
    SECONDS,
    TRUST_DOMAIN,
    Endpoint,
    Kind,
    choice,
    listed,
)
from meshtx.errors import ConfigError
from meshtx.kube.annotations import LOG_LEVELS, NO_LIMIT, Resources, amount
from meshtx.kube.manifests.values import PullPolicy
from meshtx.kube.settings.api_server import KubernetesConfig
from meshtx.kube.sidecar import Family
from meshtx.pki.name import InvalidName, MeshScope, Name
from meshtx.wire.address import Address

LogLevel = StrEnum("LogLevel", {level.upper(): level for level in LOG_LEVELS})  # type: ignore[misc]  # one list of them

_HOST = r"(?:[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9a-f:]+\])(?::[0-9]{1,5})?"
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(rf"(?:{_HOST}/)?{_PART}(?:/{_PART})*(?::\w[\w.-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?", re.ASCII)
"""Of the Open Container Initiative's distribution specification ("Pulling manifests"), a registry's host before it."""


def _image(text: str) -> str:
    if not _IMAGE.fullmatch(text):
        raise ValueError(f"{text!r} is no image")
    return text


def _quantity(text: str) -> str:
    amount(text)
    return text


def _limit(text: str) -> str | None:
    return None if text == NO_LIMIT else _quantity(text)


IMAGE = Kind("IMAGE", "meshtx", _image)
QUANTITY = Kind("QUANTITY", "100m", _quantity)
LIMIT = Kind(f"QUANTITY|{NO_LIMIT}", "1", _limit)


@dataclass(frozen=True)
class InjectorConfig(KubernetesConfig):
    """The webhook that gives pods their proxy, ``twistd meshinjector``."""

    program: ClassVar[str] = "meshinjector"
    prefix: ClassVar[str] = "MESHTX_INJECTOR_"

    listen: Address = setting(ADDRESS, "0.0.0.0:8443", "Where API servers ask about pods.")
    admin_listen: Address = setting(ADDRESS, "0.0.0.0:9990", "Where /live, /ready and /metrics are served.")
    admin_plaintext_metrics: bool = setting(FLAG, "false", "Serve /metrics to everybody, not only to this host.")

    shutdown_delay: float = setting(
        SECONDS,
        "5s",
        "How long API servers are still answered after a stop was asked for: in that time they learn to ask others.",
    )

    control_namespace: str = setting(NAMESPACE, "meshtx", "The control namespace, a part of every name in the mesh.")
    trust_domain: str = setting(
        TRUST_DOMAIN, "cluster.local", "The trust domain, the last part of every name in the mesh."
    )
    trust_anchors_file: Path | None = optional(FILE, "The mesh's trust anchors, in a PEM file; read for each pod.")
    identity_address: Endpoint | None = optional(
        ENDPOINT, "Where proxies get certificates; without it, the Service meshtx-identity."
    )
    directory_address: Endpoint | None = optional(
        ENDPOINT, "Where proxies ask who is meshed; without it, the Service meshtx-directory."
    )

    image: str | None = optional(IMAGE, "The image of the proxy and of the container that redirects to it.")
    image_pull_policy: PullPolicy = setting(choice(PullPolicy), "IfNotPresent", "When a node fetches it.")
    ip_family: Family = setting(choice(Family), "ipv4", "Of the addresses that pods have.")
    proxy_log_level: LogLevel = setting(choice(LogLevel), "info", "From here on the proxy's log is written.")
    proxy_cpu_request: str = setting(QUANTITY, Resources().cpu_request, "Of both containers, as the next three.")
    proxy_cpu_limit: str | None = setting(LIMIT, str(Resources().cpu_limit), "See proxy_cpu_request.")
    proxy_memory_request: str = setting(QUANTITY, Resources().memory_request, "See proxy_cpu_request.")
    proxy_memory_limit: str | None = setting(LIMIT, str(Resources().memory_limit), "See proxy_cpu_request.")
    metrics_identity: tuple[Name, ...] = setting(
        listed(NAME), "", "The names that may read the proxies' metrics over mutual TLS."
    )
    adopt_linkerd_annotations: bool = setting(
        FLAG, "false", "Read Linkerd's annotations of pods as ours: linkerd.io/inject and its lists of ports."
    )

    def check(self) -> None:
        """Judge the values together."""
        needs(self, "the injector, to know what to inject,", "image")
        needs(self, "the injector, to give them to proxies,", "trust_anchors_file")
        try:
            _ = self.scope
        except InvalidName as error:
            raise ConfigError("control_namespace, trust_domain", str(error), "write DNS labels") from None
        for what, request, limit in (
            ("cpu", self.proxy_cpu_request, self.proxy_cpu_limit),
            ("memory", self.proxy_memory_request, self.proxy_memory_limit),
        ):
            if limit is not None and amount(request) > amount(limit):
                raise ConfigError(f"proxy_{what}_limit", f"{limit} is less than the request, {request}", "raise it")
        check_distinct([self.listen, self.admin_listen])

    @property
    def scope(self) -> MeshScope:
        """The last part of the names in the mesh."""
        return MeshScope(self.control_namespace, self.trust_domain)

    @property
    def resources(self) -> Resources:
        """What a container of ours asks for, unless annotations say otherwise."""
        return Resources(
            self.proxy_cpu_request, self.proxy_cpu_limit, self.proxy_memory_request, self.proxy_memory_limit
        )
