"""One authority and three certificates (P-256), as files that every peer reads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from meshtx.pki.authority import Authority
from meshtx.pki.csr import make_csr, parse_csr
from meshtx.pki.issuer import make_issuer, make_root
from meshtx.pki.keys import key_to_pem, new_key
from meshtx.pki.name import MeshScope, Name

SCOPE = MeshScope()
ROLES = ("client", "server", "operator")


def name(role: str) -> Name:
    """Return what the certificate of a role is for."""
    return SCOPE.name("bench", role)


@dataclass(frozen=True)
class Certificates:
    """Where they are: ``ca.crt``; for each role ``ROLE.crt`` (with its issuer), ``ROLE.key``, ``ROLE.pem`` (both)."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Certificates:
        """Make them, valid from now for a day."""
        now = datetime.now(UTC)
        root_key, root = make_root(SCOPE, now)
        authority = Authority(make_issuer(root_key, root, SCOPE, now))
        (folder / "ca.crt").write_bytes(root.public_bytes(Encoding.PEM))
        for role in ROLES:
            key = new_key()
            issued = authority.issue(parse_csr(make_csr(key, name(role))), name(role), now)
            chain = b"".join(each.public_bytes(Encoding.PEM) for each in (issued.leaf, *issued.intermediates))
            (folder / f"{role}.crt").write_bytes(chain)
            (folder / f"{role}.key").write_bytes(key_to_pem(key))
            (folder / f"{role}.pem").write_bytes(chain + key_to_pem(key))
        return cls(folder)

    def values(self) -> dict[str, str]:
        """Return what the templates of the peers' configurations have in their place."""
        values = {"ca": str(self.folder / "ca.crt")}
        for role in ROLES:
            values[f"{role}_name"] = str(name(role))
            values[f"{role}_chain"] = str(self.folder / f"{role}.crt")
            values[f"{role}_key"] = str(self.folder / f"{role}.key")
            values[f"{role}_pem"] = str(self.folder / f"{role}.pem")
        return values
