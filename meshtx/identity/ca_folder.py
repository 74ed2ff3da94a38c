"""A mesh's own certificate authority, as files: what ``meshtx ca`` and ``meshtx token`` do.

    root.crt  root.key*       the trust anchor; the key is needed for new issuers only: keep it elsewhere
    ca-bundle.crt             the anchors, to be given to every program of the mesh
    issuer/  tls.crt  tls.key*  ca.crt        for ``twistd meshidentity``, swapped at once
    token.key*  token.pub     signs and verifies the mesh's own tokens

Files with a star are readable by their owner only, as is the folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from meshtx.errors import ConfigError, CredentialsError, said_by_system
from meshtx.files import read_file, write_file, write_folder
from meshtx.identity.local_tokens import LIFETIME, mint
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.issuer import ISSUER_LIFETIME, ROOT_LIFETIME, Issuer, make_issuer, make_root
from meshtx.pki.keys import IssuerKey, key_to_pem, new_key, public_to_pem, read_issuer_key, read_key
from meshtx.pki.name import InvalidName, MeshScope
from meshtx.pki.pem import read_certificates

ROOT, ROOT_KEY = "root.crt", "root.key"
BUNDLE = "ca-bundle.crt"
ISSUER = "issuer"
TOKEN_KEY, TOKEN_PUBLIC = "token.key", "token.pub"


@dataclass(frozen=True, slots=True)
class Made:
    """What is in the folder now.

    :param issuer: the folder for ``twistd meshidentity``.
    """

    folder: Path
    issuer: Path
    root_not_after: datetime
    issuer_not_after: datetime


def init(
    folder: Path,
    scope: MeshScope,
    now: datetime,
    root_lifetime: timedelta = ROOT_LIFETIME,
    issuer_lifetime: timedelta = ISSUER_LIFETIME,
) -> Made:
    """Make a root, an issuer below it and a token key.

    :param now: aware.
    :raises ConfigError: the folder holds an anchor already, or cannot be written.
    """
    _make_private(folder)
    for name in (ROOT, ROOT_KEY, BUNDLE, TOKEN_KEY, ISSUER):
        if (folder / name).exists():
            raise ConfigError(str(folder), f"holds a trust anchor already ({name})", "name an empty folder")
    root_key, root = make_root(scope, now, root_lifetime)
    made = make_issuer(root_key, root, scope, now, issuer_lifetime)
    token_key = new_key()
    write_file(folder / TOKEN_KEY, key_to_pem(token_key), private=True)
    write_file(folder / TOKEN_PUBLIC, public_to_pem(token_key.public_key()), private=False)
    write_file(folder / ROOT_KEY, key_to_pem(root_key), private=True)
    write_file(folder / ROOT, root.public_bytes(Encoding.PEM), private=False)
    _write_issuer(folder, made, root.public_bytes(Encoding.PEM))
    write_file(folder / BUNDLE, root.public_bytes(Encoding.PEM), private=False)
    return _made(folder, made, root)


def issuer(folder: Path, now: datetime, lifetime: timedelta = ISSUER_LIFETIME) -> Made:
    """Replace the issuer by a new one below the same root; a running identity service takes it up.

    :param now: aware.
    :raises ConfigError: the folder holds no usable root, or an anchor that the identity service would refuse.
    """
    root_key, root = _read_root(folder)
    try:
        made = make_issuer(root_key, root, _scope_of(root), now, lifetime)
    except CredentialsError as error:
        raise ConfigError(str(folder / ROOT), str(error), "make a new mesh with 'meshtx ca init'") from error
    anchors = _read_anchors(folder / BUNDLE)
    _write_issuer(folder, made, anchors)
    return _made(folder, made, root)


def create_token(folder: Path, namespace: str, service_account: str, now: float, lifetime: timedelta = LIFETIME) -> str:
    """Return a token for one service account.

    :param now: seconds since the epoch.
    :raises ConfigError: the folder holds no token key, or a value is out of range.
    """
    path = folder / TOKEN_KEY
    text = read_file(path, "name a folder that 'meshtx ca init' has made")
    try:
        return mint(read_key(text, str(path)), namespace, service_account, now, lifetime)
    except CredentialsError as error:
        raise ConfigError("token key", str(error), "name a folder that 'meshtx ca init' has made") from error
    except InvalidName as error:
        raise ConfigError(f"{namespace}/{service_account}", str(error), "name one as NAMESPACE/ACCOUNT") from error
    except ValueError as error:
        raise ConfigError("lifetime", str(error), "ask for less, and again before it ends") from error


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not any(folder.iterdir()):  # what others have put there may be for others
            folder.chmod(0o700)
    except OSError as error:
        raise ConfigError(str(folder), said_by_system(error), "name another folder") from error


def _read_root(folder: Path) -> tuple[IssuerKey, x509.Certificate]:
    hint = "name a folder that 'meshtx ca init' has made, and bring the root key back if it is kept elsewhere"
    certificate_pem, key_pem = (read_file(folder / name, hint) for name in (ROOT, ROOT_KEY))
    try:
        root = read_certificates(certificate_pem, str(folder / ROOT))[0]
        key = read_issuer_key(key_pem, str(folder / ROOT_KEY))
    except CredentialsError as error:
        raise ConfigError("trust anchor", str(error), hint) from error
    if key.public_key() != root.public_key():
        raise ConfigError(str(folder / ROOT_KEY), "is not the key of root.crt", hint)
    return key, root


def _read_anchors(bundle: Path) -> bytes:
    anchors = read_file(bundle, "put the trust anchors there")
    try:
        TrustBundle.from_pem(anchors, str(bundle))
    except CredentialsError as error:
        raise ConfigError("trust anchors", str(error), "take it out of the bundle") from error
    return anchors


def _write_issuer(folder: Path, made: Issuer, anchors: bytes) -> None:
    files = {
        "tls.crt": made.certificate.public_bytes(Encoding.PEM),
        "tls.key": key_to_pem(made.key),
        "ca.crt": anchors,
    }
    write_folder(folder / ISSUER, files, private={"tls.key"})


def _scope_of(root: x509.Certificate) -> MeshScope:
    """Return the scope that `make_root` wrote into the subject; it only labels the issuer."""
    common_names = root.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    text = str(common_names[0].value).removeprefix("root.") if common_names else ""
    control_namespace, _, trust_domain = text.partition(".")
    try:
        return MeshScope(control_namespace, trust_domain)
    except InvalidName:
        return MeshScope()


def _made(folder: Path, made: Issuer, root: x509.Certificate) -> Made:
    return Made(folder, folder / ISSUER, root.not_valid_after_utc, made.certificate.not_valid_after_utc)
