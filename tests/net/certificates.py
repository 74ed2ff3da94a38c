"""Certificates for tests: authorities, and leaves of every kind, the wrong ones too.

A leaf comes as `Credentials`, an authority's anchor as `TrustBundle`, so that tests of every room can use them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from meshtx.pki.bundle import TrustBundle
from meshtx.pki.credentials import Credentials
from meshtx.pki.name import Name

WEB = Name.parse("web.emojivoto.serviceaccount.identity.meshtx.cluster.local")
VOTING = Name.parse("voting.emojivoto.serviceaccount.identity.meshtx.cluster.local")

BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Ca:
    """An authority of tests.

    :param chain: what a leaf is to send behind itself: intermediates, issuer first; empty for a root.
    """

    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...] = ()

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode("ascii")

    @property
    def trust(self) -> TrustBundle:
        return TrustBundle.from_pem(self.pem)


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])


def make_ca(
    common_name: str = "root.meshtx.cluster.local",
    *,
    issuer: Ca | None = None,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
    path_length: int | None = None,
    key_id: bool = True,
    more: Sequence[x509.ExtensionType] = (),
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None,
) -> Ca:
    """Return a self-signed root, or with `issuer` an intermediate below it.

    :param key_id: it names its key, so that its leaves can.
    :param more: extensions beside those of every authority.
    """
    key = key or ec.generate_private_key(ec.SECP256R1())
    signer = issuer.key if issuer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(_subject(common_name))
        .issuer_name(issuer.certificate.subject if issuer else _subject(common_name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before or now() - DAY)
        .not_valid_after(not_after or now() + DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(False, False, False, False, False, True, True, False, False),
            critical=True,
        )
    )
    named = [x509.SubjectKeyIdentifier.from_public_key(key.public_key())] if key_id else []
    for extension in (*named, *more):
        builder = builder.add_extension(extension, critical=False)
    certificate = builder.sign(signer, hashes.SHA256())
    return Ca(key, certificate, (certificate, *issuer.chain) if issuer else ())


def make_leaf(
    ca: Ca,
    name: Name = WEB,
    *,
    sans: Sequence[x509.GeneralName] | None = None,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
    eku: Sequence[ObjectIdentifier] = BOTH,
    common_name: str = "",
) -> Credentials:
    """Return credentials for `name`; `sans` replaces its one DNS SAN, an empty list leaves the extension out."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName(str(name))] if sans is None else list(sans)
    first, last = not_before or now() - timedelta(minutes=5), not_after or now() + DAY / 2
    builder = (
        x509.CertificateBuilder()
        .subject_name(_subject(common_name))
        .issuer_name(ca.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(first)
        .not_valid_after(last)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()), critical=False)
    )
    if eku:
        builder = builder.add_extension(x509.ExtendedKeyUsage(eku), critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not common_name)
    chain = (builder.sign(ca.key, hashes.SHA256()), *ca.chain)
    return Credentials(key=key, chain=chain, name=name, not_before=first, not_after=last)
