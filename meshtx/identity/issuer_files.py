"""The authority's issuer, from a folder that may be replaced at any time.

    kubernetes.io/tls    tls.crt  tls.key  ca.crt        (cert-manager's, and that of ``meshtx ca``)
    linkerd.io/tls       crt.pem  key.pem  ca.crt        (ca.crt may be elsewhere: name the file)

A new issuer that does not verify against its anchors now is not used: the old one stays. Nor is one whose certificates
do not, as it is with name constraints that leave out the mesh: it is tried.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from twisted.application.service import MultiService
from twisted.internet.interfaces import IReactorTime

from meshtx.errors import ConfigError
from meshtx.files import read_file
from meshtx.pki.authority import LIFETIME, Authority
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.credentials import Credentials
from meshtx.pki.csr import make_csr, parse_csr
from meshtx.pki.issuer import Issuer
from meshtx.pki.keys import new_key
from meshtx.pki.name import Name
from meshtx.watch import Contents, FileWatch, Reload

LAYOUTS = (("tls.crt", "tls.key"), ("crt.pem", "key.pem"))
"""Certificate and key: of ``kubernetes.io/tls``, of ``linkerd.io/tls``."""
ANCHORS = "ca.crt"


@dataclass(frozen=True, slots=True)
class Loaded:
    """An issuer and the anchors that it verifies against, swapped together."""

    issuer: Issuer
    trust: TrustBundle

    def check(self, now: datetime) -> None:
        """Verify again: time has passed.

        :raises CredentialsError: a leaf of this issuer would not be trusted now.
        """
        self.issuer.check(self.trust, now)

    def issue(self, name: Name, now: datetime, lifetime: timedelta = LIFETIME) -> Credentials:
        """Issue a certificate for a key of ours, and judge it as a peer would.

        :raises MeshtxError: that cannot be done, or no peer would believe it.
        """
        self.check(now)
        key = new_key()
        chain = Authority(self.issuer, lifetime).issue(parse_csr(make_csr(key, name)), name, now)
        return Credentials.from_chain(key, chain.ders(), name, self.trust, now)


class IssuerFiles(MultiService):
    """Holds the present issuer; loads it when made, and again when the files change.

    :param name: of the mesh, to try an issuer with.
    :param trust_file: the trust anchors, where they are not in the folder.
    :param wall: seconds since the epoch.
    :param changed: called after each new issuer, not for the first.
    :param reloaded: called with what came of each change, good or not.
    :raises ConfigError: the files cannot be used (when made only).
    """

    def __init__(
        self,
        folder: Path,
        clock: IReactorTime,
        *,
        name: Name,
        trust_file: Path | None = None,
        wall: Callable[[], float] = time.time,
        changed: Callable[[], None] = lambda: None,
        reloaded: Callable[[Reload], None] = lambda _: None,
    ) -> None:
        super().__init__()
        self._folder = folder
        self._name = name
        self._trust_file = trust_file or folder / ANCHORS
        self._wall = wall
        self._changed = changed
        self._watch = FileWatch(
            f"issuer in {folder}",
            read=self._read,
            build=self._build,
            changed=self._take,
            clock=clock,
            reloaded=reloaded,
        )
        self.loaded = self._watch.load()
        self._watch.setServiceParent(self)

    @property
    def reload_error(self) -> str | None:
        """Why the files as they are now are not in use, ``None`` where they are."""
        return self._watch.reload_error

    def _read(self) -> Contents:
        certificate, key = _layout(self._folder)
        return {path: read_file(path) for path in (certificate, key, self._trust_file)}

    def _build(self, contents: Contents) -> Loaded:
        (certificate, certificate_pem), (key, key_pem), (anchors, anchors_pem) = contents.items()
        trust = TrustBundle.from_pem(anchors_pem, str(anchors))
        now = datetime.fromtimestamp(self._wall(), UTC)
        issuer = Issuer.from_pem(certificate_pem, key_pem, trust, now, str(certificate), key_what=str(key))
        loaded = Loaded(issuer, trust)
        loaded.issue(self._name, now)
        return loaded

    def _take(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self._changed()


def _layout(folder: Path) -> tuple[Path, Path]:
    for certificate, key in LAYOUTS:
        if (folder / certificate).exists():
            return folder / certificate, folder / key
    raise ConfigError(
        str(folder), "holds neither tls.crt nor crt.pem", "name a folder that 'meshtx ca init' or cert-manager has made"
    )
