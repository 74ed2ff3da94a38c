"""Issues the leaves of a mesh.

The profile is Linkerd's, with a random serial number and a start five minutes back: ECDSA P-256 key,
SHA-256, exactly one dNSName, server and client authentication. A name of more than 64 octets
does not fit a common name; then the subject is empty and the alternative name critical (RFC 5280,
section 4.2.1.6).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from meshtx.errors import MeshtxError
from meshtx.pki.csr import CsrRequest, has_common_name, subject_of
from meshtx.pki.issuer import BACKDATE, Issuer, authority_key_of, key_usage, start_certificate
from meshtx.pki.name import Name

LIFETIME = timedelta(hours=24)
"""Of a leaf."""


class AuthorityError(MeshtxError):
    """No certificate can be issued: gRPC Internal."""


@dataclass(frozen=True, slots=True)
class IssuedChain:
    """A leaf and what its holder sends along, direct issuer first."""

    leaf: x509.Certificate
    intermediates: tuple[x509.Certificate, ...]
    not_after: datetime

    def ders(self) -> tuple[bytes, ...]:
        """Return the chain as bytes, leaf first."""
        return tuple(certificate.public_bytes(Encoding.DER) for certificate in (self.leaf, *self.intermediates))


@dataclass(frozen=True, slots=True)
class Authority:
    """Signs with one issuer. Whom to believe is decided before: see `meshtx.identity.service`."""

    issuer: Issuer
    lifetime: timedelta = LIFETIME
    backdate: timedelta = BACKDATE

    def issue(self, request: CsrRequest, name: Name, now: datetime) -> IssuedChain:
        """Return a leaf for the request's key; it never outlives a certificate of the issuer's chain.

        :param name: proven by the caller; the request must ask for it.
        :param now: aware.
        :raises CsrNotAllowed: the request asks for something else.
        :raises AuthorityError: the issuer has expired, or cannot sign.
        """
        request.check(str(name))
        issuer = self.issuer.certificate
        not_after = min(now + self.lifetime, self.issuer.not_after)
        if not_after <= now:
            raise AuthorityError(f"the issuer's chain expired at {self.issuer.not_after:%Y-%m-%d %H:%M} UTC")
        builder = (
            start_certificate(subject_of(name), issuer.subject, now - self.backdate, not_after)
            .public_key(request.public_key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(key_usage(digital_signature=True, key_encipherment=True), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(str(name))]), critical=not has_common_name(name))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(request.public_key), critical=False)
            .add_extension(authority_key_of(issuer), critical=False)
        )
        try:
            leaf = builder.sign(self.issuer.key, SHA256())
        except (ValueError, TypeError) as error:
            raise AuthorityError(f"the issuer's key cannot sign: {error}") from error
        return IssuedChain(leaf, self.issuer.intermediates, leaf.not_valid_after_utc)
