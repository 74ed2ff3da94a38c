"""The TLS that this proxy speaks now.

One object holds the contexts of the present credentials; new credentials replace it whole: new connections
use the new one, established ones keep theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from meshtx.identity.source import ICredentialsSource
from meshtx.net.contexts import Contexts
from meshtx.net.rehearsal import rehearse
from meshtx.net.tls import TlsProtocol
from meshtx.pki.name import Name
from meshtx.wire import leg_frames, transport_header

MESHTX = leg_frames.ALPN
"""ALPN of our own leg."""
LINKERD = transport_header.ALPN
"""ALPN of Linkerd's transport header."""
PROTOCOLS = (MESHTX, LINKERD)
"""What two proxies may speak, the better one first."""

UNRECOGNIZED_NAME = bytes.fromhex("15 0303 0002 02 70")
"""A fatal alert in a record of its own (RFC 6066, section 3): it tells a peer with an old address what is wrong."""


class MeshTls:
    """The contexts of whatever credentials the source has now.

    `contexts` is ``None`` before the first credentials and once they have expired; `server_name` is then the
    configured or the last one, for what is addressed to it is ours to refuse.

    :param name: the workload's, if it is known before the first credentials.
    """

    log = Logger()

    def __init__(self, source: ICredentialsSource, name: Name | None = None) -> None:
        self._source = source
        self.contexts: Contexts | None = None
        self.server_name: str | None = str(name) if name else None
        self.renewed: list[Callable[[], None]] = []
        """Called when there are other contexts, or none any more."""
        self._renew()
        self.close = source.subscribe(self._renew)

    def _renew(self) -> None:
        credentials = self._source.credentials
        self.contexts = Contexts(credentials, self._source.trust) if credentials else None
        self.server_name = str(credentials.name) if credentials else self.server_name
        if self.contexts is not None and credentials is not None:
            self._rehearse(self.contexts, credentials.name)
        for tell in self.renewed:
            tell()

    def _rehearse(self, contexts: Contexts, name: Name) -> None:
        problem = rehearse(contexts, name, PROTOCOLS)
        if problem is not None:
            self.log.warn("peers will not believe the certificate of {name}: {problem}", name=name, problem=problem)

    @property
    def missing(self) -> str:
        """Why there are no contexts, for a person."""
        return self._source.ready_reason() or "no certificate"


class Carrier(TlsProtocol):
    """TLS of one connection between proxies that also tells its end, so that nobody waits for what cannot come.

    :param lost: called once, after everything else: TCP is gone, whatever had come of the handshake. Not called once
        `settled` was.
    :param arguments: those of `TlsProtocol`.
    """

    def __init__(self, *arguments: Any, lost: Callable[[Failure], None]) -> None:  # Any: passed on as they are
        super().__init__(*arguments)
        self._lost: Callable[[Failure], None] | None = lost

    def settled(self) -> None:
        """Nobody waits any more, and nobody who did is to be kept in memory for as long as the connection lasts."""
        self._lost = None

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell whoever is above, then whoever waits."""
        super().connectionLost(reason)
        lost, self._lost = self._lost, None
        if lost is not None:
            lost(reason)


def alerted(reason: str) -> None:
    """End a connection whose handshake failed by leaving it to TLS: a reset would overtake the alert."""
