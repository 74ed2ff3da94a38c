"""The proxy's admin port: the same site in clear and over mutual TLS, told apart by a connection's first bytes.

In clear it says whether the proxy lives and is ready. Metrics are shown over mutual TLS, to the names that the
configuration lists; in clear only where it says so.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from twisted.internet.interfaces import IAddress, IProtocol, IReactorTime
from twisted.internet.protocol import ServerFactory

from meshtx.net.failures import TlsError
from meshtx.net.tls import Session, TlsProtocol
from meshtx.observe.admin import AdminSite
from meshtx.pki.name import Name
from meshtx.proxy.arrival import Arrival
from meshtx.proxy.mesh_tls import MeshTls
from meshtx.rpc.connections import Connections, Seat
from meshtx.wire.client_hello import Hello, NotTls

PATIENCE = 10.0
"""Seconds for the first bytes and for the handshake."""

MAX_UNDECIDED = 64
"""Connections that have said nothing yet, or are in their handshake; one more, and the oldest is cut off."""


class AdminPort(ServerFactory):
    """Takes connections to the admin port.

    :param site: makes the site; its argument says whether the metrics are shown.
    :param plaintext_metrics: show them in clear as well.
    :param readers: the names that may read them over mutual TLS; empty, and nobody may.
    :param failed: called with each failed handshake.
    """

    noisy = False

    def __init__(
        self,
        site: Callable[[bool], AdminSite],
        tls: MeshTls,
        clock: IReactorTime,
        *,
        plaintext_metrics: bool,
        readers: Collection[Name],
        failed: Callable[[TlsError], None],
    ) -> None:
        self._open, self._closed = site(True), site(False)
        self._in_clear = self._open if plaintext_metrics else self._closed
        self._tls = tls
        self._clock = clock
        self._readers = frozenset(readers)
        self._failed = failed
        self._undecided = Connections(MAX_UNDECIDED)

    def buildProtocol(self, addr: IAddress | None) -> Arrival:  # noqa: ARG002 - Twisted's signature
        """Return the protocol that awaits the first bytes."""
        return Arrival(self._accepted, self._clock, PATIENCE)

    def _accepted(self, arrival: Arrival) -> None:
        seat = self._undecided.enter(arrival.transport.abortConnection)
        arrival.gone = seat.leave
        arrival.sniff(lambda seen: self._sniffed(arrival, seat, seen))

    def _sniffed(self, arrival: Arrival, seat: Seat, seen: Hello | NotTls | None) -> None:
        contexts = self._tls.contexts
        match seen:
            case NotTls():
                seat.leave()
                held = arrival.held
                site = self._in_clear.buildProtocol(arrival.transport.getPeer())
                arrival.become(site)
                site.dataReceived(held)
            case Hello() if contexts is not None:
                arrival.release()

                def established(session: Session) -> IProtocol:
                    seat.leave()
                    site = self._open if session.peer in self._readers else self._closed
                    return site.buildProtocol(None)

                def failed(error: TlsError) -> None:
                    seat.leave()
                    self._failed(error)

                tls = TlsProtocol(contexts.server(), established, failed, self._clock, PATIENCE)
                tls.start_on(arrival.transport, arrival.held)
            case _:
                arrival.transport.abortConnection()
