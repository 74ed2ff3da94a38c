"""Credentials from certificate files: a mesh without an identity service.

Whoever makes the files (cert-manager, a person, another mesh's tool) also renews them; they are loaded
again when they change. A set that does not parse is an error at start; one that does not verify now is
not used, and the last good one stays in use until it expires.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from twisted.internet.interfaces import IReactorTime

from meshtx.errors import ConfigError, CredentialsError
from meshtx.files import read_file
from meshtx.identity.source import CredentialsService
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.credentials import Credentials
from meshtx.pki.name import Name
from meshtx.watch import Contents, FileWatch, Reload

_Pair = tuple[Credentials, TrustBundle]


class CertificateFiles(CredentialsService):
    """A source of credentials (`meshtx.identity.source.ICredentialsSource`).

    :param certificate: leaf first, then its issuers.
    :param trust: the anchors, or the file that they stand in.
    :param name: what the certificate must name; without it, whatever it names.
    :param wall: seconds since the epoch.
    :param reloaded: called with what came of each change.
    :raises ConfigError: a file cannot be read or parsed (when made only).
    """

    def __init__(
        self,
        certificate: Path,
        key: Path,
        trust: TrustBundle | Path,
        clock: IReactorTime,
        *,
        name: Name | None = None,
        wall: Callable[[], float] = time.time,
        reloaded: Callable[[Reload], None] = lambda _: None,
    ) -> None:
        self._paths = [certificate, key, *([trust] if isinstance(trust, Path) else [])]
        self._fixed = None if isinstance(trust, Path) else trust
        self._name = name
        try:
            _, anchors = self._parse(self._read())
        except CredentialsError as error:
            raise ConfigError("certificate", str(error), "mend the file and start again") from error
        super().__init__(anchors, wall)
        self._taken: _Pair | None = None
        self._watch = FileWatch(
            f"certificate in {certificate}",
            read=self._read,
            build=self._build,
            changed=self._take,
            clock=clock,
            looked=self._looked,
            reloaded=reloaded,
        )
        self._watch.look()

    def startService(self) -> None:
        """Look at the files now and then."""
        super().startService()
        self._watch.startService()

    def stopService(self) -> None:
        """Look no more."""
        self._watch.stopService()
        super().stopService()

    def _read(self) -> Contents:
        return {path: read_file(path) for path in self._paths}

    def _parse(self, contents: Contents) -> _Pair:
        certificate, key, *anchors = self._paths
        trust = self._fixed or TrustBundle.from_pem(contents[anchors[0]], str(anchors[0]))
        pair = contents[certificate], contents[key]
        return Credentials.from_pem(*pair, str(certificate), key_what=str(key)), trust

    def _build(self, contents: Contents) -> _Pair:
        credentials, trust = self._parse(contents)
        credentials.check(self._name or credentials.name, trust, self._now())
        return credentials, trust

    def _take(self, pair: _Pair) -> None:
        self._taken = pair
        self._publish(*pair)

    def _looked(self) -> None:
        """Withdraw what no peer takes any more, until there are new files, or a clock that was wrong is set right."""
        self.problem = self._watch.reload_error
        if self._taken is None:
            return
        credentials, trust = self._taken
        expired = self._now() > credentials.not_after
        if expired and self.credentials is not None:
            self.log.error("certificate of {name} has expired", name=credentials.name)
            self._publish(None, trust)
        elif not expired and self.credentials is None:
            self._publish(credentials, trust)
