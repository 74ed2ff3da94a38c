"""The keys and certificates of a control plane that lives as long as a test run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = timedelta(days=7)

FRONT = "front-proxy"
"""The name by which the API server relays a user's request to an aggregated one."""

FRONT_CA = "front-proxy-ca"

SERVER_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Credentials:
    """All files of this kind that one control plane needs."""

    ca: Path
    """Certificate of the authority of servers and clients."""
    server: Pair
    admin: Pair
    """Of a user who may do everything."""
    front_ca: Path
    """Certificate of the authority that vouches for the API server when it relays a user's request."""
    front: Pair
    tokens: Pair
    """What signs ServiceAccount tokens; its public half stands in place of a certificate."""


def make_credentials(folder: Path, *addresses: str, authority: Authority | None = None) -> Credentials:
    """Make new ones in a folder, for an API server that is reached at these addresses.

    :param authority: of servers and clients, if there is one already.
    """
    authority, front = authority or Authority(folder, "ca"), Authority(folder, FRONT_CA)
    return Credentials(
        ca=authority.file,
        server=authority.server("kube-apiserver", *SERVER_NAMES, *addresses),
        admin=authority.client("admin", "system:masters"),
        front_ca=front.file,
        front=front.client(FRONT),
        tokens=_signing_key(folder),
    )


class Authority:
    """A certificate authority that writes what it issues into a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        subject = _subject(name)
        self._certificate = (
            _start(subject, subject, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = folder / f"{name}.crt"
        self.file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def client(self, name: str, organization: str | None = None) -> Pair:
        """Return what a client shows; Kubernetes takes the names for its user and its group."""
        return self._issue(name, _subject(name, organization), ExtendedKeyUsageOID.CLIENT_AUTH)

    def server(self, name: str, *reached_at: str) -> Pair:
        """Return what a server shows that is reached at these DNS names and IP addresses."""
        alternatives = x509.SubjectAlternativeName([_alternative_name(each) for each in reached_at])
        return self._issue(name, _subject(name), ExtendedKeyUsageOID.SERVER_AUTH, alternatives)

    def _issue(
        self, name: str, subject: x509.Name, usage: x509.ObjectIdentifier, *extensions: x509.ExtensionType
    ) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _start(subject, self._certificate.subject, key.public_key())
        for extension in (x509.ExtendedKeyUsage([usage]), *extensions):
            builder = builder.add_extension(extension, critical=False)
        pair = Pair(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        certificate = builder.sign(self._key, hashes.SHA256())
        pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        _write_key(pair.key, key)
        return pair


def _alternative_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _subject(name: str, organization: str | None = None) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)] if organization else []
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _start(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + LIFETIME)
    )


def _signing_key(folder: Path) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    pair = Pair(folder / "service-account.pub", folder / "service-account.key")
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    pair.certificate.write_bytes(public)
    _write_key(pair.key, key)
    return pair


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """Write a key as PKCS #8 that only its owner reads."""
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
