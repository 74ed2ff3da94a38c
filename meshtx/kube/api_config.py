"""Where the Kubernetes API is, and as whom one comes to it.

In a pod the kubelet mounts three files and sets two variables:

    /var/run/secrets/kubernetes.io/serviceaccount/{token,ca.crt,namespace}
    KUBERNETES_SERVICE_HOST    KUBERNETES_SERVICE_PORT
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from urllib.parse import urlsplit

from meshtx.errors import ConfigError
from meshtx.files import read_text

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod's credentials for the API are mounted."""


@dataclass(frozen=True, slots=True)
class ApiConfig:
    """How to reach the API server.

    :param server: its URL, https, perhaps with a path before the API's own.
    :param ca: PEM: the only authorities that may vouch for it.
    :param token_file: holds the bearer token; read again when it changes.
    :param token: the bearer token itself, where there is no file.
    :param certificate: PEM, leaf first: a client certificate, with `key`.
    :param server_name: what the server's certificate must name, instead of the URL's host.
    :raises ConfigError: it cannot be used.
    """

    server: str
    ca: str = field(repr=False)
    token_file: Path | None = None
    token: str | None = field(default=None, repr=False)
    certificate: str | None = field(default=None, repr=False)
    key: str | None = field(default=None, repr=False)
    server_name: str | None = None

    def __post_init__(self) -> None:
        hint = "write it as https://HOST:PORT"
        try:
            parts = urlsplit(self.server)
            usable = parts.scheme == "https" and parts.hostname and parts.port != 0
        except ValueError as error:
            raise ConfigError("server", f"{self.server!r} is no URL: {error}", hint) from error
        if not usable or parts.username or parts.query or parts.fragment:
            raise ConfigError("server", f"{self.server!r} is not the URL of an API server", hint)
        if (self.certificate is None) != (self.key is None):
            raise ConfigError("certificate", "a client certificate and its key belong together", "give both, or none")

    @property
    def host(self) -> str:
        """What is dialled: a DNS name or an IP address."""
        return urlsplit(self.server).hostname or ""

    @property
    def port(self) -> int:
        """Where it is dialled."""
        return urlsplit(self.server).port or 443

    @property
    def expected(self) -> str:
        """What the server's certificate must name: a DNS name or an IP address."""
        return self.server_name or self.host


def in_cluster(environ: Mapping[str, str], folder: Path = SERVICE_ACCOUNT) -> ApiConfig:
    """Return the configuration that the kubelet gives to a pod.

    :raises ConfigError: this is no pod, or its service account token is not mounted.
    """
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "")
    if not host or not port:
        raise ConfigError(
            "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT",
            "not set: this is no pod of a cluster",
            "run it in a pod, or name the API server",
        )
    hint = "mount the service account token into this container (a projected volume at this path)"
    ca = read_text(folder / "ca.crt", hint)
    read_text(folder / "token", hint)  # missing now is better said now than at the first request
    return ApiConfig(f"https://{_bracketed(host)}:{port}", ca, token_file=folder / "token")


def _bracketed(host: str) -> str:
    try:
        return f"[{host}]" if isinstance(ip_address(host), IPv6Address) else host
    except ValueError:
        return host
