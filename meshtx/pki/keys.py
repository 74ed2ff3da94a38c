"""Private keys: P-256 for everything that we make, RSA too where an operator's issuer has it."""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from meshtx.errors import CredentialsError
from meshtx.pki.pem import read_blocks

IssuerKey = EllipticCurvePrivateKey | RSAPrivateKey
"""What an issuer may sign with: P-256, or RSA (cert-manager's default) of at least `MIN_RSA_BITS`."""

MIN_RSA_BITS = 2048


def new_key() -> EllipticCurvePrivateKey:
    """Return a new P-256 key."""
    return generate_private_key(SECP256R1())


def key_to_pem(key: IssuerKey) -> bytes:
    """Return the key as unencrypted PKCS #8 text."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_to_pem(key: EllipticCurvePublicKey) -> bytes:
    """Return a public key as text (SubjectPublicKeyInfo)."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def is_p256(key: object) -> bool:
    """Say whether a key, private or public, is on the curve P-256."""
    return isinstance(key, EllipticCurvePrivateKey | EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)


def read_key(text: str | bytes, what: str) -> EllipticCurvePrivateKey:
    """Return the one P-256 key of a text: PKCS #8, or SEC 1 as OpenSSL writes it.

    :param what: names the text in errors.
    :raises CredentialsError: it holds anything else.
    """
    key = read_issuer_key(text, what)
    if not isinstance(key, EllipticCurvePrivateKey):
        raise CredentialsError(f"{what}: an RSA key; a workload's key must be ECDSA P-256")
    return key


def read_issuer_key(text: str | bytes, what: str) -> IssuerKey:
    """Return the one P-256 or RSA key of a text: PKCS #8, SEC 1 or PKCS #1.

    :param what: names the text in errors.
    :raises CredentialsError: it holds anything else.
    """
    # OpenSSL writes the curve in a block of its own before an EC key.
    blocks = [block for block in read_blocks(text, what) if block.label != "EC PARAMETERS"]
    if len(blocks) != 1 or not blocks[0].label.endswith("PRIVATE KEY"):
        labels = ", ".join(block.label for block in blocks)
        raise CredentialsError(f"{what}: must hold one PRIVATE KEY block, holds {labels or 'none'}")
    try:
        key = load_pem_private_key(blocks[0].text.encode("latin-1"), password=None)
    except TypeError as error:
        raise CredentialsError(f"{what}: the key is encrypted; store it without a password") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CredentialsError(f"{what}: the private key cannot be read") from error
    if isinstance(key, RSAPrivateKey) and key.key_size >= MIN_RSA_BITS:
        return key
    if isinstance(key, EllipticCurvePrivateKey) and is_p256(key):
        return key
    raise CredentialsError(
        f"{what}: must be an ECDSA key on P-256, or an issuer's RSA key of {MIN_RSA_BITS} bits or more"
    )
