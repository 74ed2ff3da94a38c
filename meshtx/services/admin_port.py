"""The proxy's admin port: the same site in clear and over mutual TLS, told apart by a connection's first bytes.

In clear it says whether the proxy lives and is ready. Metrics are shown over mutual TLS, to the names that the
configuration lists; in clear only where it says so.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from twisted.internet.interfaces import IAddress, IProtocol, IReactorTime
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger

from meshtx.net.failures import TlsError
from meshtx.net.tls import Session, TlsProtocol
from meshtx.observe.admin import AdminSite
from meshtx.pki.name import Name
from meshtx.proxy.arrival import Arrival
from meshtx.proxy.mesh_tls import MeshTls
from meshtx.wire.client_hello import Hello, NotTls

PATIENCE = 10.0
"""Seconds for the first bytes and for the handshake."""


class AdminPort(ServerFactory):
    """Takes connections to the admin port.

    :param site: makes the site; its argument says whether the metrics are shown.
    :param plaintext_metrics: show them in clear as well.
    :param readers: the names that may read them over mutual TLS; empty, and nobody may.
    """

    noisy = False
    log = Logger()

    def __init__(
        self,
        site: Callable[[bool], AdminSite],
        tls: MeshTls,
        clock: IReactorTime,
        *,
        plaintext_metrics: bool,
        readers: Collection[Name],
    ) -> None:
        self._open, self._closed = site(True), site(False)
        self._in_clear = self._open if plaintext_metrics else self._closed
        self._tls = tls
        self._clock = clock
        self._readers = frozenset(readers)

    def buildProtocol(self, addr: IAddress | None) -> Arrival:  # noqa: ARG002 - Twisted's signature
        """Return the protocol that awaits the first bytes."""
        return Arrival(lambda arrival: arrival.sniff(lambda seen: self._sniffed(arrival, seen)), self._clock, PATIENCE)

    def _sniffed(self, arrival: Arrival, seen: Hello | NotTls | None) -> None:
        contexts = self._tls.contexts
        match seen:
            case NotTls():
                held = arrival.held
                site = self._in_clear.buildProtocol(arrival.transport.getPeer())
                arrival.become(site)
                site.dataReceived(held)
            case Hello() if contexts is not None:
                arrival.release()
                tls = TlsProtocol(contexts.server(), self._established, self._failed, self._clock, PATIENCE)
                tls.start_on(arrival.transport, arrival.held)
            case _:
                arrival.transport.abortConnection()

    def _established(self, session: Session) -> IProtocol:
        site = self._open if session.peer in self._readers else self._closed
        return site.buildProtocol(None)

    def _failed(self, error: TlsError) -> None:
        self.log.info("admin: TLS refused: {reason} ({detail})", reason=error.reason.value, detail=error.detail)
