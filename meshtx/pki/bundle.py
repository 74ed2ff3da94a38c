"""The trust anchors of a mesh: what every chain must end in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import crypto

from meshtx.errors import CredentialsError
from meshtx.pki.pem import read_certificates
from meshtx.pki.strength import check_strength


@dataclass(frozen=True, slots=True)
class TrustBundle:
    """One or more anchors, each a certificate authority.

    An anchor need not be self-signed: what stands here is trusted as it stands (RFC 5280, section
    6.1.1 d). Use `store` or `put_into` for every check, so that each verifier of the mesh gives the same verdict.
    """

    anchors: tuple[x509.Certificate, ...]

    @classmethod
    def from_pem(cls, text: str | bytes, what: str = "trust anchors") -> TrustBundle:
        """Read a bundle; doubled anchors count once.

        :param what: names the text in errors.
        :raises CredentialsError: it holds no certificate, something else, or one that handshakes refuse.
        """
        return cls.of(read_certificates(text, what), what)

    @classmethod
    def of(cls, anchors: Sequence[x509.Certificate], what: str = "trust anchors") -> TrustBundle:
        """Return the bundle of these anchors.

        :raises CredentialsError: one is no certificate authority, or too weak for a handshake.
        """
        for number, anchor in enumerate(anchors, 1):
            which = f"{what}: certificate {number} ({anchor.subject.rfc4514_string()})"
            if not is_authority(anchor):
                raise CredentialsError(f"{which} is no certificate authority")
            check_strength(anchor, which, anchor=True)
        return cls(tuple(dict.fromkeys(anchors)))

    @property
    def digest(self) -> str:
        """SHA-256 over the anchors, in hex: equal for equal sets, whatever their order."""
        return sha256(b"".join(sorted(a.public_bytes(Encoding.DER) for a in self.anchors))).hexdigest()

    @property
    def not_after(self) -> datetime:
        """When the first of the anchors expires."""
        return min(anchor.not_valid_after_utc for anchor in self.anchors)

    def to_pem(self) -> bytes:
        """Return the anchors as text that `from_pem` reads."""
        return b"".join(anchor.public_bytes(Encoding.PEM) for anchor in self.anchors)

    def store(self) -> crypto.X509Store:
        """Return a new OpenSSL store of the anchors."""
        store = crypto.X509Store()
        self.put_into(store)
        return store

    def put_into(self, store: crypto.X509Store) -> None:
        """Make a store, such as that of a TLS context, verify against the anchors."""
        for anchor in self.anchors:
            store.add_cert(crypto.X509.from_cryptography(anchor))
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)  # an intermediate may be an anchor


def is_authority(certificate: x509.Certificate) -> bool:
    """Say whether a certificate may sign others: basic constraints and, where given, key usage."""
    extensions = certificate.extensions
    try:
        if not extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return False
    except x509.ExtensionNotFound:
        return False
    try:
        return extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        return True
