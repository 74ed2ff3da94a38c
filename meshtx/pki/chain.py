"""Verifies certificate chains with OpenSSL, the same code that judges them in a handshake."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtensionOID
from OpenSSL import crypto

from meshtx.errors import CredentialsError
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.strength import check_strength


def verify_chain(
    leaf: x509.Certificate,
    others: Sequence[x509.Certificate],
    trust: TrustBundle,
    now: datetime,
    what: str = "certificate",
) -> tuple[x509.Certificate, ...]:
    """Return the path from a certificate to its anchor, both included.

    Signatures, times, basic constraints, path lengths and key usage are checked (RFC 5280, section 6), and that keys
    and signatures are strong enough for a handshake.

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
        subject = error.certificate.to_cryptography().subject.rfc4514_string()
        failed = f" ({subject})" if subject else ""  # that of a leaf with a long name is empty
        raise CredentialsError(f"{what}: does not verify against the trust anchors: {error}{failed}") from error
    found = tuple(certificate.to_cryptography() for certificate in path)
    for each in found:
        check_strength(each, f"{what}: {each.subject.rfc4514_string() or 'the leaf'}", anchor=each is found[-1])
    return found


_MERE_AUTHORITY = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.SUBJECT_KEY_IDENTIFIER,
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
}
"""Extensions by which a certificate says that it is an authority, and nothing of whom and for what."""

_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)


def stand_in(chain: Sequence[x509.Certificate], trust: TrustBundle) -> x509.Certificate | None:
    """Return the issuer of a leaf, if whoever verifies a leaf of the same issuer may stop there.

    Above it a handshake would find nothing that this chain does not show already, for as long as it is valid: its path
    to an anchor verifies, lasts all that time, is strong enough, and says nothing of what lies below. So there is one
    signature less to be verified in a handshake. Where any of that is not so, each path is followed to its anchor.

    :param chain: leaf first, as its owner presents it.
    """
    try:
        return _stand_in(chain, trust)
    except Exception:  # noqa: BLE001  whatever somebody has signed: what cannot be read stands for nothing
        return None


def _stand_in(chain: Sequence[x509.Certificate], trust: TrustBundle) -> x509.Certificate | None:
    begin = max(each.not_valid_before_utc for each in chain)
    end = min(each.not_valid_after_utc for each in chain)
    leaf, issuer, *above = verify_chain(chain[0], chain[1:], trust, begin)
    if not above or issuer != chain[1] or not _names_its_key(leaf, issuer):
        return None
    lasting = all(end <= each.not_valid_after_utc for each in above)
    silent = all({extension.oid for extension in each.extensions} <= _MERE_AUTHORITY for each in above)
    free = _path_length(issuer) == 0 or all(_path_length(each) is None for each in above)
    strong = all(_is_strong(each) for each in (issuer, *above))
    return issuer if lasting and silent and free and strong else None


def _names_its_key(leaf: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Say whether a leaf tells its issuer from another one of the same name, as one that comes after it may have.

    OpenSSL takes the first that fits from among those it trusts, and looks at no other if that has not signed.
    """
    own = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    return leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == own


def _path_length(authority: x509.Certificate) -> int | None:
    """Return how many authorities may be below this one; ``None``: it sets no bound (RFC 5280, section 4.2.1.9)."""
    return authority.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length


def _is_strong(authority: x509.Certificate) -> bool:
    """Say whether OpenSSL takes it in any handshake; what is weaker, or of another kind, is for it to judge."""
    match authority.public_key():
        case ec.EllipticCurvePublicKey(key_size=bits):
            enough = bits >= 256
        case rsa.RSAPublicKey(key_size=bits):
            enough = bits >= 2048
        case _:
            enough = False
    return enough and isinstance(authority.signature_hash_algorithm, _HASHES)


def is_self_signed(certificate: x509.Certificate) -> bool:
    """Say whether a certificate is issued by its own subject: a root, which no peer needs to be sent."""
    return certificate.subject == certificate.issuer
