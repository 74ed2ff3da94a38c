"""What a workload proves its name with: private key, leaf and intermediates, as one value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from meshtx.errors import CredentialsError
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.chain import is_self_signed, verify_chain
from meshtx.pki.keys import key_to_pem, read_key
from meshtx.pki.name import Name
from meshtx.pki.peer_name import PeerNameError, matches, peer_name
from meshtx.pki.pem import read_certificate, read_certificates

_ROLES = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
_ONE_ROLE = "extended key usage must allow both serverAuth and clientAuth"


@dataclass(frozen=True, slots=True)
class Credentials:
    """A key and the chain for it. Never changes: a renewal is a new value.

    :param chain: leaf first, then what a peer needs to reach an anchor, without roots.
    :param not_before: from here on the whole chain is valid; `not_after`: until here.
    """

    key: EllipticCurvePrivateKey = field(repr=False)
    chain: tuple[x509.Certificate, ...] = field(repr=False)
    name: Name
    not_before: datetime
    not_after: datetime

    @classmethod
    def from_pem(
        cls, cert_pem: str | bytes, key_pem: str | bytes, what: str = "certificate", *, key_what: str = "key"
    ) -> Credentials:
        """Read a chain, leaf first, and its key. Neither trust nor time is judged: see `check`.

        :param what: names the certificate in errors, as `key_what` does the key.
        :raises CredentialsError: one cannot be read, they do not belong together, or the leaf is none for a mesh.
        """
        return _make(read_key(key_pem, key_what), read_certificates(cert_pem, what), what)

    @classmethod
    def from_chain(
        cls,
        key: EllipticCurvePrivateKey,
        ders: Sequence[bytes],
        expected: Name,
        trust: TrustBundle,
        now: datetime,
    ) -> Credentials:
        """Take a chain, leaf first, as an authority answered it, and verify it.

        :raises CredentialsError: it is not a chain for this key and name that is valid now.
        """
        what = "issued certificate"
        credentials = _make(key, [read_certificate(der, what) for der in ders], what)
        credentials.check(expected, trust, now)
        return credentials

    def check(self, expected: Name, trust: TrustBundle, now: datetime) -> None:
        """Verify name, chain and time.

        :raises CredentialsError: a peer with these anchors would refuse them now.
        """
        try:
            matches(self.chain[0], expected)
        except PeerNameError as error:
            raise CredentialsError(f"certificate: {error}") from error
        for each in verify_chain(self.chain[0], self.chain[1:], trust, now):
            if not _serves_both_roles(each):  # a handshake asks it of those above the leaf too, anchors included
                subject = each.subject.rfc4514_string()
                raise CredentialsError(f"certificate: {_ONE_ROLE}; that of {subject} does not")

    def chain_pem(self) -> bytes:
        """Return the chain as text, leaf first."""
        return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in self.chain)

    def key_pem(self) -> bytes:
        """Return the private key as text: for a file that only its owner reads."""
        return key_to_pem(self.key)


def _make(key: EllipticCurvePrivateKey, chain: Sequence[x509.Certificate], what: str) -> Credentials:
    if not chain:
        raise CredentialsError(f"{what}: the chain is empty")
    leaf = chain[0]
    if leaf.public_key() != key.public_key():
        raise CredentialsError(f"{what}: the private key is not the certificate's")
    try:
        name = peer_name(leaf)
    except PeerNameError as error:
        raise CredentialsError(f"{what}: {error}") from error
    if not _serves_both_roles(leaf):
        raise CredentialsError(f"{what}: {_ONE_ROLE}")
    sent = (leaf, *(certificate for certificate in chain[1:] if not is_self_signed(certificate)))
    return Credentials(
        key,
        sent,
        name,
        max(certificate.not_valid_before_utc for certificate in sent),
        min(certificate.not_valid_after_utc for certificate in sent),
    )


def _serves_both_roles(certificate: x509.Certificate) -> bool:
    """A workload is server and client with the same leaf; OpenSSL refuses a path in a role that one on it lacks.

    The usage for any purpose (anyExtendedKeyUsage) is neither role to it.
    """
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return set(usage) >= _ROLES
