"""What the tests of this room share: an authority that answers at once, and files of certificates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from meshtx.identity.certify import CertifyAnswer, CertifyArguments
from meshtx.pki.authority import Authority
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.credentials import Credentials
from meshtx.pki.csr import make_csr, parse_csr
from meshtx.pki.issuer import Issuer, make_issuer, make_root
from meshtx.pki.keys import key_to_pem, new_key
from meshtx.pki.name import Name
from tests.pki.made import NOW, SCOPE, WEB

START = NOW.timestamp()
"""Seconds since the epoch at which the tests begin."""


class Mesh:
    """A root, an issuer below it, and what they issue.

    :param lifetime: of leaves.
    """

    def __init__(self, lifetime: timedelta = timedelta(hours=24)) -> None:
        self.root_key, self.root = make_root(SCOPE, NOW)
        self.trust = TrustBundle((self.root,))
        self.lifetime = lifetime
        self.issuer = self.next_issuer()

    def next_issuer(self, at: datetime = NOW) -> Issuer:
        return make_issuer(self.root_key, self.root, SCOPE, at)

    def answer(self, arguments: CertifyArguments, now: float) -> CertifyAnswer:
        """Certify whatever is asked for."""
        at = datetime.fromtimestamp(now, UTC)
        authority = Authority(self.issuer, self.lifetime)
        leaf, *others = authority.issue(parse_csr(arguments.csr), arguments.identity, at).ders()
        return CertifyAnswer(leaf, tuple(others))

    def credentials(self, name: Name = WEB, now: float = START) -> Credentials:
        key, at = new_key(), datetime.fromtimestamp(now, UTC)
        chain = Authority(self.issuer, self.lifetime).issue(parse_csr(make_csr(key, name)), name, at)
        return Credentials.from_chain(key, chain.ders(), name, self.trust, at)


def issuer_pems(issuer: Issuer) -> tuple[bytes, bytes]:
    """Return certificate and key of an issuer as text."""
    return issuer.certificate.public_bytes(Encoding.PEM), key_to_pem(issuer.key)


def write_credentials(folder: Path, credentials: Credentials) -> None:
    """Write ``tls.crt`` and ``tls.key``."""
    (folder / "tls.crt").write_bytes(credentials.chain_pem())
    (folder / "tls.key").write_bytes(credentials.key_pem())
