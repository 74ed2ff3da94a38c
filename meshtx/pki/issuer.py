"""Certificate authorities: reading an issuer, and making a mesh's own root and issuers.

    root (pathlen 1, 10 years) -> issuer (pathlen 0, 90 days) -> leaves

An issuer's key is ECDSA P-256 or RSA; leaves are always P-256. Peers of Linkerd verify both.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from meshtx.errors import CredentialsError
from meshtx.pki.bundle import TrustBundle, is_authority
from meshtx.pki.chain import is_self_signed, verify_chain
from meshtx.pki.csr import MAX_COMMON_NAME
from meshtx.pki.keys import IssuerKey, new_key, read_issuer_key
from meshtx.pki.name import MeshScope
from meshtx.pki.pem import read_certificates

BACKDATE = timedelta(minutes=5)
"""How far certificates start in the past: clocks differ."""
ROOT_LIFETIME = timedelta(days=3650)
ISSUER_LIFETIME = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Issuer:
    """A key that signs leaves.

    :param chain: the issuer's certificate, then its parents as far as they are known.
    """

    key: IssuerKey = field(repr=False)
    chain: tuple[x509.Certificate, ...] = field(repr=False)

    @property
    def certificate(self) -> x509.Certificate:
        """The certificate that leaves are issued by."""
        return self.chain[0]

    @property
    def not_after(self) -> datetime:
        """When the first certificate of the chain expires."""
        return min(certificate.not_valid_after_utc for certificate in self.chain)

    @property
    def intermediates(self) -> tuple[x509.Certificate, ...]:
        """What a leaf's holder sends along: the issuer, then its parents without roots."""
        parents = (certificate for certificate in self.chain[1:] if not is_self_signed(certificate))
        return (self.certificate, *parents)

    @classmethod
    def from_pem(
        cls,
        cert_pem: str | bytes,
        key_pem: str | bytes,
        trust: TrustBundle,
        now: datetime,
        what: str = "issuer",
        *,
        key_what: str = "issuer's key",
    ) -> Issuer:
        """Read an issuer's chain and key, and verify it; the chain is completed up to its anchor.

        :param what: names the issuer in errors, as `key_what` does its key.
        :raises CredentialsError: it could not issue a leaf that the mesh trusts now.
        """
        key = read_issuer_key(key_pem, key_what)
        chain = read_certificates(cert_pem, what)
        if chain[0].public_key() != key.public_key():
            raise CredentialsError(f"{what}: the private key is not the certificate's")
        if not is_authority(chain[0]):
            raise CredentialsError(f"{what}: the certificate is no certificate authority (CA:TRUE, keyCertSign)")
        path = verify_chain(chain[0], chain[1:], trust, now, what)
        for below, certificate in enumerate(path):
            # OpenSSL has judged the issuer as the end of the path; its leaves make the path one longer.
            if not _allows_below(certificate, below):
                subject = certificate.subject.rfc4514_string()
                raise CredentialsError(f"{what}: {subject} allows no further authorities below it (path length)")
        return cls(key, tuple(dict.fromkeys((*chain, *path))))  # a cross-signed parent beside the path stays

    def check(self, trust: TrustBundle, now: datetime) -> None:
        """Verify the chain again: time has passed, or the anchors are others.

        :raises CredentialsError: it is not valid now.
        """
        verify_chain(self.certificate, self.chain[1:], trust, now, "issuer")


def make_root(
    scope: MeshScope, now: datetime, lifetime: timedelta = ROOT_LIFETIME
) -> tuple[EllipticCurvePrivateKey, x509.Certificate]:
    """Return a new trust anchor with its key."""
    key = new_key()
    subject = _authority_name("root", scope)
    builder = start_certificate(subject, subject, now - BACKDATE, now + lifetime).public_key(key.public_key())
    return key, _authority(builder, key, path_length=1).sign(key, SHA256())


def make_issuer(
    root_key: IssuerKey,
    root_cert: x509.Certificate,
    scope: MeshScope,
    now: datetime,
    lifetime: timedelta = ISSUER_LIFETIME,
) -> Issuer:
    """Return a new issuer below a root, which it does not outlive.

    :raises CredentialsError: the root has expired.
    """
    not_after = min(now + lifetime, root_cert.not_valid_after_utc)
    if not_after <= now:
        raise CredentialsError(f"the root expired at {not_after:%Y-%m-%d %H:%M} UTC; make a new one")
    key = new_key()
    subject = _authority_name("identity", scope)
    builder = start_certificate(subject, root_cert.subject, now - BACKDATE, not_after).public_key(key.public_key())
    builder = _authority(builder, key, path_length=0).add_extension(authority_key_of(root_cert), critical=False)
    return Issuer(key, (builder.sign(root_key, SHA256()), root_cert))


def start_certificate(
    subject: x509.Name, issuer: x509.Name, not_before: datetime, not_after: datetime
) -> x509.CertificateBuilder:
    """Return what every certificate of ours has in common; its serial number is random (RFC 5280, 4.1.2.2)."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .serial_number(_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )


def authority_key_of(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """Return the identifier that leads from a certificate to its issuer's key."""
    try:
        own = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())  # type: ignore[arg-type]  # P-256 or RSA
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _allows_below(certificate: x509.Certificate, authorities: int) -> bool:
    length = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
    return length is None or length >= authorities


def _serial_number() -> int:
    return secrets.randbits(128) or 1


def _authority_name(role: str, scope: MeshScope) -> x509.Name:
    text = f"{role}.{scope.control_namespace}.{scope.trust_domain}"
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:MAX_COMMON_NAME])])


def _authority(
    builder: x509.CertificateBuilder, key: EllipticCurvePrivateKey, path_length: int
) -> x509.CertificateBuilder:
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def key_usage(
    *,
    digital_signature: bool = False,
    key_encipherment: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    """Return a key usage with these bits and no others (RFC 5280, section 4.2.1.3)."""
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=key_encipherment,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
