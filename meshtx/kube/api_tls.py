"""Who the API server must be, and the certificate that we may have for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL

from meshtx.errors import ConfigError, CredentialsError
from meshtx.kube.api_config import ApiConfig
from meshtx.net.https import ServerTls
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.pem import read_certificates


def server_tls(config: ApiConfig) -> ServerTls:
    """Return the server's check, with the client's certificate if there is one.

    :raises ConfigError: certificates or key cannot be used.
    """
    try:
        trust = TrustBundle.from_pem(config.ca, "ca")
    except CredentialsError as error:
        raise ConfigError("ca", str(error), "give the cluster's CA certificates as PEM") from error
    present = _presenter(config)
    try:
        return ServerTls(config.expected, trust, present)
    except ValueError as error:
        hint = "name the host by its DNS name or its IP address"
        raise ConfigError("server", f"{config.expected!r} is no name for a server", hint) from error


def _presenter(config: ApiConfig) -> Callable[[SSL.Context], None]:
    """Return what puts the client's certificate into a context: the certificate first, then its key."""
    if config.certificate is None or config.key is None:
        return lambda _: None
    hint = "give a certificate and its unencrypted key as PEM"
    try:
        leaf, *issuers = read_certificates(config.certificate, "certificate")
        key = cast("Any", load_pem_private_key(config.key.encode("ascii", "replace"), None))  # of any kind
    except (CredentialsError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError("certificate", f"cannot be read: {type(error).__name__}", hint) from error

    def present(context: SSL.Context) -> None:
        try:
            context.use_certificate(leaf)
            context.use_privatekey(key)
            context.check_privatekey()
            for issuer in issuers:
                context.add_extra_chain_cert(issuer)
        except SSL.Error as error:
            raise ConfigError("certificate", "the key is not the certificate's", hint) from error

    return present
