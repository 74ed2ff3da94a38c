"""What every program can be told that cannot do without an API server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from meshtx.config_load import ProgramConfig, setting
from meshtx.config_values import FOLDER
from meshtx.kube.api_config import SERVICE_ACCOUNT


@dataclass(frozen=True)
class KubernetesConfig(ProgramConfig):
    """How the API server is reached."""

    kubernetes_folder: Path = setting(
        FOLDER,
        str(SERVICE_ACCOUNT),
        "Where token and ca.crt for the API server are, whose address is in KUBERNETES_SERVICE_HOST and"
        " KUBERNETES_SERVICE_PORT.",
    )
