"""Certificates that no honest authority issues, beside those of `tests.net.certificates`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID, NameOID

from meshtx.pki.name import MeshScope, Name

SCOPE = MeshScope()
WEB = SCOPE.name("emojivoto", "web")
VOTING = SCOPE.name("emojivoto", "voting")
LONG = SCOPE.name("a-namespace-with-quite-a-long-name-" + "x" * 20, "web")
"""Does not fit a common name."""
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

KEY = ec.generate_private_key(ec.SECP256R1())


def leaf_with(san: bytes | Iterable[x509.GeneralName] | None, common_name: str = "") -> x509.Certificate:
    """Return a self-signed leaf with these alternative names, raw DER or none at all."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "anybody")]))
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
    )
    if isinstance(san, bytes):
        extension = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, san)
        builder = builder.add_extension(extension, critical=False)
    elif san is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName(san), critical=False)
    return builder.sign(KEY, SHA256())


def raw_names(*names: tuple[int, bytes]) -> bytes:
    """Return the DER of alternative names given by tag and content, each below 128 bytes."""
    body = b"".join(bytes([tag, len(content)]) + content for tag, content in names)
    length = bytes([len(body)]) if len(body) < 128 else bytes([0x81, len(body)])
    return b"\x30" + length + body


def with_san_twice(name: Name) -> x509.Certificate:
    """Return a leaf that has the extension twice; its signature is broken, which its names do not know."""
    san = x509.SubjectAlternativeName([x509.DNSName(str(name))])
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "anybody")]))
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
        .add_extension(san, critical=False)
        .add_extension(x509.IssuerAlternativeName([x509.DNSName(str(name))]), critical=False)
    )
    der = builder.sign(KEY, SHA256()).public_bytes(Encoding.DER)
    return x509.load_der_x509_certificate(der.replace(b"\x55\x1d\x12", b"\x55\x1d\x11"))
