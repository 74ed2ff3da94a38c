"""Text encodings of certificates and keys (RFC 7468), read strictly.

Text between the blocks is explanatory and ignored, blank lines included. A block of another type,
an unfinished block or one that is no base64 is an error that says which: what an operator put into
a file is never dropped in silence. Private key material is in no message.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from dataclasses import dataclass, field

from cryptography import x509

from meshtx.errors import CredentialsError

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----((?:(?!-----).)*)-----END \1-----", re.DOTALL)
_BOUNDARY = re.compile(r"-----\s*(?:BEGIN|END)[^\n]*")


@dataclass(frozen=True, slots=True)
class Block:
    """One encoded thing.

    :param label: what stands behind ``BEGIN``.
    :param der: the decoded bytes.
    :param text: the block as it was found.
    """

    label: str
    der: bytes = field(repr=False)
    text: str = field(repr=False)


def read_blocks(text: str | bytes, what: str) -> list[Block]:
    """Return the blocks of a text in order, at least one.

    :param what: names the text in errors.
    :raises CredentialsError: there is none, or one is broken.
    """
    if isinstance(text, bytes):
        text = text.decode("latin-1")  # comments may be in any encoding; blocks are ASCII
    stray = _BOUNDARY.search(_BLOCK.sub("", text))
    if stray:
        raise CredentialsError(f"{what}: an unfinished PEM block at {stray.group().strip()[:60]!r}")
    blocks = [_decode(match, what) for match in _BLOCK.finditer(text)]
    if not blocks:
        raise CredentialsError(f"{what}: holds no PEM block (-----BEGIN ...-----)")
    return blocks


def _decode(match: re.Match[str], what: str) -> Block:
    label, body = match.groups()
    encoded = body.rpartition("\n\n")[2] if ":" in body else body  # RFC 1421 headers: an encrypted key
    try:
        der = b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise CredentialsError(f"{what}: the {label} block is not base64") from error
    return Block(label, der, match.group())


def read_certificates(text: str | bytes, what: str) -> tuple[x509.Certificate, ...]:
    """Return the certificates of a text in order, at least one.

    :param what: names the text in errors.
    :raises CredentialsError: a block is something else than a readable certificate.
    """
    found = []
    for number, block in enumerate(read_blocks(text, what), 1):
        if block.label != "CERTIFICATE":
            raise CredentialsError(f"{what}: block {number} is {block.label}; only CERTIFICATE blocks belong here")
        found.append(read_certificate(block.der, f"{what}: certificate {number}"))
    return tuple(found)


def read_certificate(der: bytes, what: str) -> x509.Certificate:
    """Return the certificate in these bytes, with extensions that can all be read.

    :param what: names the bytes in errors.
    :raises CredentialsError: they are none.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        certificate.extensions  # noqa: B018  # parsed on first use; a broken one is found here, once
        certificate.public_key()
    except Exception as error:  # the library raises a dozen unrelated types for bytes from outside
        raise CredentialsError(f"{what}: cannot be read: {error}") from error
    return certificate
