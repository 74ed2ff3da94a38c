"""Verifies certificate chains with OpenSSL, the same code that judges them in a handshake."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from cryptography import x509
from cryptography.x509.oid import ExtensionOID
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


_MERE_AUTHORITY = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.SUBJECT_KEY_IDENTIFIER,
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
}
"""Extensions by which a certificate says that it is an authority, and nothing of whom and for what."""


def stand_in(chain: Sequence[x509.Certificate], trust: TrustBundle) -> x509.Certificate | None:
    """Return the issuer of a leaf, if whoever verifies a leaf of the same issuer may stop there.

    Above it nothing would be found that is not known already, for as long as this chain itself is valid: its path to an
    anchor lasts all that time, and says nothing of what lies below. So there is one signature less to be verified in a
    handshake. Where any of that is not so there is none, and each path is followed to its anchor.

    :param chain: leaf first, as its owner presents it.
    """
    if len(chain) < 2:
        return None
    issuer = chain[1]
    begin = max(each.not_valid_before_utc for each in chain)
    end = min(each.not_valid_after_utc for each in chain)
    try:
        above = verify_chain(issuer, chain[2:], trust, begin, "issuer")[1:]
        silent = all({extension.oid for extension in each.extensions} <= _MERE_AUTHORITY for each in above)
        free = _path_length(issuer) == 0 or all(_path_length(each) is None for each in above)
    except (CredentialsError, ValueError):  # ValueError: what OpenSSL can read, and cryptography cannot
        return None
    lasting = all(end <= each.not_valid_after_utc for each in above)
    return issuer if above and silent and free and lasting else None


def _path_length(authority: x509.Certificate) -> int | None:
    """Return how many authorities may be below this one; ``None``: it sets no bound (RFC 5280, section 4.2.1.9)."""
    try:
        return authority.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
    except x509.ExtensionNotFound:
        return None


def is_self_signed(certificate: x509.Certificate) -> bool:
    """Say whether a certificate is issued by its own subject: a root, which no peer needs to be sent."""
    return certificate.subject == certificate.issuer
