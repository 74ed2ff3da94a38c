"""Where a program of the mesh has its certificate from, as its configuration says."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from meshtx.config_credentials import CredentialsConfig
from meshtx.errors import ConfigError, CredentialsError
from meshtx.identity.certificate_files import CertificateFiles
from meshtx.identity.certify_client import CertifyClient
from meshtx.identity.keeper_service import KeeperService
from meshtx.identity.key_folder import KeyFolder
from meshtx.net.sockets import SocketOptions
from meshtx.observe.metrics import Metrics
from meshtx.pki.bundle import TrustBundle
from meshtx.watch import Followed


def credentials_source(
    config: CredentialsConfig, reactor: Any, metrics: Metrics, sockets: SocketOptions
) -> CertificateFiles | KeeperService:
    """Return a source, which is a service of its program; `metrics` show what comes of it.

    :param reactor: (Any: a reactor has no one type.)
    :param sockets: of the connections to the identity service.
    :raises ConfigError: a file or the anchors are no good.
    """
    source = _source(config, reactor, metrics, sockets)

    def measure() -> None:
        metrics.anchors(anchor.not_valid_after_utc for anchor in source.trust.anchors)
        if source.credentials is not None:
            metrics.certificate(source.credentials.not_after, datetime.fromtimestamp(time.time(), UTC))

    measure()
    source.subscribe(measure)
    return source


def _source(
    config: CredentialsConfig, reactor: Any, metrics: Metrics, sockets: SocketOptions
) -> CertificateFiles | KeeperService:
    trust = config.trust_anchors_file or _anchors(config.trust_anchors)
    if config.certificate_file and config.key_file:
        return CertificateFiles(
            config.certificate_file,
            config.key_file,
            trust,
            reactor,
            name=config.name,
            reloaded=metrics.reloads(Followed.CREDENTIALS),
        )
    assert config.identity_address and config.name and config.token_file  # noqa: PT018 - what check() has made sure of
    where = config.identity_address
    client = CertifyClient(reactor, where.host, where.port, config.identity_name, sockets)
    return KeeperService(
        config.name,
        client.certify,
        config.token_file,
        trust,
        reactor,
        key_folder=_locked(KeyFolder(config.key_folder)) if config.key_folder else None,
        refreshed=metrics.certificate_refreshed,
        reloaded=metrics.reloads(Followed.TRUST_ANCHORS),
    )


def _locked(folder: KeyFolder) -> KeyFolder:
    folder.lock()
    return folder


def _anchors(pem: str | None) -> TrustBundle:
    try:
        return TrustBundle.from_pem(pem or "", "trust_anchors")
    except CredentialsError as error:
        raise ConfigError("trust_anchors", str(error), "give the PEM text of the mesh's trust anchors") from error
