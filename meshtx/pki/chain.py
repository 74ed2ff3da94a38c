"""Verifies certificate chains with OpenSSL, the same code that judges them in a handshake."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from cryptography import x509
from OpenSSL import crypto

from meshtx.errors import CredentialsError
from meshtx.pki.bundle import TrustBundle


def verify_chain(
    leaf: x509.Certificate,
    others: Sequence[x509.Certificate],
    trust: TrustBundle,
    now: datetime,
    what: str = "certificate",
) -> tuple[x509.Certificate, ...]:
    """Return the path from a certificate to its anchor, both included.

    Signatures, times, basic constraints, path lengths and key usage are checked (RFC 5280, section 6).

    :param others: intermediates that may be part of the path.
    :param now: aware.
    :raises CredentialsError: there is no valid path now.
    """
    store = trust.store()
    store.set_time(now.astimezone(UTC).replace(tzinfo=None))  # pyOpenSSL takes UTC without a zone
    context = crypto.X509StoreContext(
        store, crypto.X509.from_cryptography(leaf), [crypto.X509.from_cryptography(other) for other in others]
    )
    try:
        path = context.get_verified_chain()
    except crypto.X509StoreContextError as error:
        failed = error.certificate.to_cryptography().subject.rfc4514_string()
        raise CredentialsError(f"{what}: does not verify against the trust anchors: {error} ({failed})") from error
    return tuple(certificate.to_cryptography() for certificate in path)


def is_self_signed(certificate: x509.Certificate) -> bool:
    """Say whether a certificate is issued by its own subject: a root, which no peer needs to be sent."""
    return certificate.subject == certificate.issuer
