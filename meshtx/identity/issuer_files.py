"""The authority's issuer, from a folder that may be replaced at any time.

    kubernetes.io/tls    tls.crt  tls.key  ca.crt        (cert-manager's, and that of ``meshtx ca``)
    linkerd.io/tls       crt.pem  key.pem  ca.crt        (ca.crt may be elsewhere: name the file)

A new issuer that does not verify against its anchors now is not used: the old one stays.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from twisted.application.service import MultiService
from twisted.internet.interfaces import IReactorTime

from meshtx.errors import ConfigError
from meshtx.files import read_file
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.issuer import Issuer
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


class IssuerFiles(MultiService):
    """Holds the present issuer; loads it when made, and again when the files change.

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
        trust_file: Path | None = None,
        wall: Callable[[], float] = time.time,
        changed: Callable[[], None] = lambda: None,
        reloaded: Callable[[Reload], None] = lambda _: None,
    ) -> None:
        super().__init__()
        self._folder = folder
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
        (certificate, certificate_pem), (_, key_pem), (anchors, anchors_pem) = contents.items()
        trust = TrustBundle.from_pem(anchors_pem, str(anchors))
        now = datetime.fromtimestamp(self._wall(), UTC)
        return Loaded(Issuer.from_pem(certificate_pem, key_pem, trust, now, str(certificate)), trust)

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
