"""Where an installation's issuer comes from: made on the spot, kept in a folder, or given in files.

Whatever it is, it is verified before it is printed: identity would refuse it otherwise, in a pod's log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from meshtx.errors import ConfigError, CredentialsError
from meshtx.files import read_file
from meshtx.identity import ca_folder
from meshtx.kube.injected_values import MAX_ANCHORS
from meshtx.kube.manifests.values import Trust
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.issuer import Issuer, make_issuer, make_root
from meshtx.pki.keys import key_to_pem
from meshtx.pki.name import MeshScope
from meshtx.pki.pem import read_certificates


@dataclass(frozen=True, slots=True)
class Sourced:
    """An issuer for the manifests, and until when it can issue."""

    trust: Trust
    not_after: datetime


def generated(scope: MeshScope, now: datetime) -> Sourced:
    """Return an issuer below an anchor that nobody has the key of from here on.

    :param now: aware.
    """
    root_key, root = make_root(scope, now)
    issuer = make_issuer(root_key, root, scope, now)
    return _sourced(issuer, [issuer.certificate], TrustBundle.of([root]))


def from_folder(folder: Path, scope: MeshScope, now: datetime) -> Sourced:
    """Return the issuer of a folder of ``meshtx ca init``, which is made if it is not there or empty.

    :param now: aware.
    :raises ConfigError: the folder holds something else, or its issuer is of no use now.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        ca_folder.init(folder, scope, now)
    issuer = folder / ca_folder.ISSUER
    hint = f"make the next one with 'meshtx ca issuer {folder}'"
    return from_files(issuer / "tls.crt", issuer / "tls.key", folder / ca_folder.BUNDLE, now, hint)


def from_files(
    certificate: Path, key: Path, anchors: Path, now: datetime, hint: str = "name an issuer and the anchors above it"
) -> Sourced:
    """Return the issuer in these PEM files.

    :param now: aware.
    :raises ConfigError: they cannot be read, do not fit together, or are of no use now.
    """
    certificate_pem, key_pem, anchors_pem = (read_file(path, hint) for path in (certificate, key, anchors))
    try:
        bundle = TrustBundle.from_pem(anchors_pem, str(anchors))
        issuer = Issuer.from_pem(certificate_pem, key_pem, bundle, now, str(certificate), key_what=str(key))
        chain = read_certificates(certificate_pem, str(certificate))
    except CredentialsError as error:
        raise ConfigError("issuer", str(error), hint) from error
    if len(bundle.to_pem()) > MAX_ANCHORS:
        raise ConfigError(
            str(anchors), f"more than the {MAX_ANCHORS // 1024} KiB that a pod can be given", "leave anchors out"
        )
    return _sourced(issuer, chain, bundle)


def _sourced(issuer: Issuer, chain: Sequence[x509.Certificate], bundle: TrustBundle) -> Sourced:
    trust = Trust(
        anchors=bundle.to_pem().decode(),
        digest=bundle.digest,
        issuer="".join(each.public_bytes(Encoding.PEM).decode() for each in chain),
        issuer_key=key_to_pem(issuer.key).decode(),
    )
    return Sourced(trust, issuer.not_after)
