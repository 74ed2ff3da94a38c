"""Which authorities are too weak for a TLS handshake, found where they are loaded and not when connections fail.

OpenSSL's security level 2, which is that of our TLS contexts, wants 112 bits (NIST SP 800-57 part 1, table 2) of every
key on a path and of every signature but that of the anchor, whose own nobody verifies. Without a handshake OpenSSL
verifies a path at level 0.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa

from meshtx.errors import CredentialsError
from meshtx.pki.keys import MIN_RSA_BITS

_MIN_EC_BITS = 224
_WEAK_DIGESTS = (hashes.MD5, hashes.SHA1)
_HINT = f"make one with an ECDSA P-256 key, or RSA of {MIN_RSA_BITS} bits or more, that is signed with SHA-256"


def check_strength(certificate: x509.Certificate, what: str, *, anchor: bool) -> None:
    """Insist that handshakes accept a certificate on a path. An algorithm that is unknown here is OpenSSL's to judge.

    :param what: names the certificate in errors.
    :param anchor: it is the end of its path, so that its own signature proves nothing.
    :raises CredentialsError: its key or its signature is too weak.
    """
    try:
        weakness = _weak_key(certificate) or (None if anchor else _weak_signature(certificate))
    except (ValueError, UnsupportedAlgorithm):
        return
    if weakness:
        raise CredentialsError(f"{what}: {weakness}, which TLS handshakes refuse as too weak; {_HINT}")


def _weak_key(certificate: x509.Certificate) -> str | None:
    match certificate.public_key():
        case rsa.RSAPublicKey(key_size=bits) if bits < MIN_RSA_BITS:
            return f"has an RSA key of {bits} bits"
        case dsa.DSAPublicKey(key_size=bits) if bits < MIN_RSA_BITS:
            return f"has a DSA key of {bits} bits"
        case ec.EllipticCurvePublicKey(key_size=bits) if bits < _MIN_EC_BITS:
            return f"has an ECDSA key of {bits} bits"
    return None


def _weak_signature(certificate: x509.Certificate) -> str | None:
    digest = certificate.signature_hash_algorithm
    return f"is signed with {digest.name.upper()}" if isinstance(digest, _WEAK_DIGESTS) else None
