"""What the identity service can be told: ``twistd meshidentity``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from meshtx.config_checks import check_distinct, needs
from meshtx.config_load import ProgramConfig, optional, setting
from meshtx.config_values import (
    ADDRESS,
    BOOLEAN,
    DURATION,
    FILE,
    FLAG,
    FOLDER,
    NAME,
    NAMESPACE,
    TRUST_DOMAIN,
    URL,
    WORD,
)
from meshtx.errors import ConfigError
from meshtx.pki.name import InvalidName, MeshScope, Name
from meshtx.wire.address import Address

SHORTEST_LIFETIME = timedelta(seconds=15)
"""A certificate that lives shorter cannot be renewed in time."""


@dataclass(frozen=True)
class IdentityConfig(ProgramConfig):
    """The certificate authority, ``twistd meshidentity``."""

    program: ClassVar[str] = "meshidentity"
    prefix: ClassVar[str] = "MESHTX_IDENTITY_"

    listen: Address = setting(ADDRESS, "0.0.0.0:8080", "Where certificates are issued.")
    admin_listen: Address = setting(ADDRESS, "0.0.0.0:9990", "Where /live, /ready and /metrics are served.")
    admin_plaintext_metrics: bool = setting(FLAG, "false", "Serve /metrics to everybody, not only to this host.")

    control_namespace: str = setting(NAMESPACE, "meshtx", "The control namespace, a part of every name in the mesh.")
    trust_domain: str = setting(
        TRUST_DOMAIN, "cluster.local", "The trust domain, the last part of every name in the mesh."
    )
    name: Name | None = optional(
        NAME, "The service's own name; without it, service account meshtx-identity in the control namespace."
    )

    issuer: Path | None = optional(
        FOLDER, "The folder of the issuer: tls.crt, tls.key and ca.crt, or crt.pem, key.pem and ca.crt."
    )
    trust_anchors_file: Path | None = optional(
        FILE, "The mesh's trust anchors, in a PEM file; without it, ca.crt in the issuer's folder."
    )
    lifetime: timedelta = setting(DURATION, "24h", "How long a certificate is valid.")

    validator: str = setting(
        WORD,
        "local",
        "Who judges tokens: 'local' takes those of 'meshtx token create', 'kubernetes' asks a cluster's API server,"
        " 'jwks' takes those of an issuer that publishes its keys; others are plugins.",
    )
    token_key_file: Path | None = optional(
        FILE, "The public key of the local validator, in a PEM file.", needs=["validator=local"]
    )
    token_requires_pod: bool | None = optional(
        BOOLEAN,
        "With 'kubernetes': take only tokens that are bound to a pod, and so end with it; true unless set.",
        needs=["validator=kubernetes"],
    )
    kubernetes_folder: Path | None = optional(
        FOLDER,
        "With 'kubernetes': where token and ca.crt for the API server are, whose address is in KUBERNETES_SERVICE_HOST"
        " and KUBERNETES_SERVICE_PORT; /var/run/secrets/kubernetes.io/serviceaccount unless set.",
        needs=["validator=kubernetes"],
    )
    jwks_file: Path | None = optional(
        FILE, "With 'jwks': the issuer's key set, in a JSON file.", needs=["validator=jwks"]
    )
    jwks_url: str | None = optional(
        URL, "With 'jwks': where the issuer publishes its key set.", needs=["validator=jwks"]
    )
    jwks_ca_file: Path | None = optional(
        FILE, "Who may vouch for the server of jwks_url: authorities, in a PEM file.", needs=["jwks_url"]
    )
    jwks_issuer: str | None = optional(WORD, "With 'jwks': what the tokens' 'iss' must be.", needs=["validator=jwks"])
    jwks_audience: str | None = optional(
        WORD, "With 'jwks': what must be among the tokens' 'aud'; identity.l5d.io unless set.", needs=["validator=jwks"]
    )

    def check(self) -> None:
        """Judge the values together."""
        if self.issuer is None:
            raise ConfigError("issuer", "not set", "name the folder that 'meshtx ca issuer' has made")
        try:
            _ = self.own_name
        except InvalidName as error:
            raise ConfigError("control_namespace, trust_domain", str(error), "write DNS labels") from None
        if self.lifetime < SHORTEST_LIFETIME:
            raise ConfigError("lifetime", f"shorter than {SHORTEST_LIFETIME.seconds} s", "give certificates more time")
        _check_validator(self)
        check_distinct([self.listen, self.admin_listen])

    @property
    def scope(self) -> MeshScope:
        """The last part of the names that the service certifies."""
        return MeshScope(self.control_namespace, self.trust_domain)

    @property
    def own_name(self) -> Name:
        """The name in the service's own certificate."""
        return self.name or self.scope.name(self.control_namespace, "meshtx-identity")


def _check_validator(config: IdentityConfig) -> None:
    what = f"the validator {config.validator!r}"
    if config.validator == "local":
        needs(config, what, "token_key_file")
    elif config.validator == "jwks":
        needs(config, what, "jwks_issuer")
        _check_key_set(config)


def _check_key_set(config: IdentityConfig) -> None:
    if (config.jwks_file is None) == (config.jwks_url is None):
        have = "neither is" if config.jwks_file is None else "both are"
        raise ConfigError("jwks_file, jwks_url", f"{have} set", "set one of them to the issuer's key set")
    if config.jwks_url is not None and config.jwks_ca_file is None:
        raise ConfigError(
            "jwks_ca_file",
            "not set, and nothing says who may vouch for the server of jwks_url",
            "name the file of its authority, or that of this system's (/etc/ssl/certs/ca-certificates.crt)",
        )
