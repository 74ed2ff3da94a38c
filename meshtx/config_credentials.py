"""The settings of a program that has a certificate of the mesh: from the identity service, or from files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from meshtx.config_checks import needs
from meshtx.config_load import ProgramConfig, optional, setting
from meshtx.config_values import ENDPOINT, FILE, FOLDER, NAME, PEM, Endpoint
from meshtx.errors import ConfigError
from meshtx.pki.name import Name


@dataclass(frozen=True)
class CredentialsConfig(ProgramConfig):
    """Who the program is, and what proves it."""

    name: Name | None = optional(
        NAME, "The workload's name in the mesh; with certificate files it is the one that the certificate has."
    )
    trust_anchors: str | None = optional(PEM, "The mesh's trust anchors, as PEM text.")
    trust_anchors_file: Path | None = optional(FILE, "The mesh's trust anchors, in a PEM file.")

    identity_address: Endpoint | None = optional(ENDPOINT, "Where the identity service issues certificates.")
    identity_name: Name = setting(
        NAME,
        "meshtx-identity.meshtx.serviceaccount.identity.meshtx.cluster.local",
        "The name that the identity service must prove.",
        needs=["identity_address"],
    )
    token_file: Path | None = optional(
        FILE, "The token that proves the name to the identity service.", needs=["identity_address"]
    )
    key_folder: Path | None = optional(
        FOLDER,
        "A folder on a tmpfs where the private key is kept over a restart; without it, memory alone has it.",
        needs=["identity_address"],
    )

    certificate_file: Path | None = optional(
        FILE, "Without an identity service: the workload's certificate and its issuers, in a PEM file."
    )
    key_file: Path | None = optional(FILE, "The private key of certificate_file, in a PEM file.")


def check_credentials(config: CredentialsConfig) -> None:
    """Judge where the certificate and the trust anchors come from.

    :raises ConfigError: from nowhere, or from two places.
    """
    if (config.trust_anchors is None) == (config.trust_anchors_file is None):
        have = "neither is" if config.trust_anchors is None else "both are"
        raise ConfigError("trust_anchors, trust_anchors_file", f"{have} set", "set one of them to the mesh's anchors")
    from_files = config.certificate_file is not None or config.key_file is not None
    if from_files and config.identity_address is not None:
        raise ConfigError(
            "certificate_file, identity_address", "both are set", "take the certificate from files or from the service"
        )
    if from_files:
        needs(config, "a certificate from files", "certificate_file", "key_file")
    elif config.identity_address is None:
        raise ConfigError(
            "identity_address",
            "nothing says where the certificate comes from",
            "set it (with name and token_file), or set certificate_file and key_file",
        )
    else:
        needs(config, "a certificate from the identity service", "name", "token_file")
