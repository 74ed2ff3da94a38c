"""TLS over any transport of Twisted's: the handshake, then a `TlsTransport` for the protocol above.

    connected ──▶ handshake ──▶ established(session) gives the protocol ──▶ TlsTransport
                      └──▶ failed(TlsError): refused, timed out, or lost

Made for `meshtx.net.contexts`: who the peer is has been checked, name included, before
`established` is called. On a client that is not yet the peer's consent: in TLS 1.3 the client is done first, and
a server that refuses its certificate says so later; the protocol then loses the connection with a
`TlsError` whose reason is `REJECTED`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import cast

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol, IProtocol, IReactorTime, ITransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from meshtx.net import openssl, peer_keys
from meshtx.net.contexts import is_client, peer_check
from meshtx.net.deadline import call_off
from meshtx.net.failures import TlsError, TlsFailure, without_frames
from meshtx.net.quick import QuickTransport
from meshtx.net.records import RecordLayer, records
from meshtx.net.socket_records import SocketRecords
from meshtx.net.tls_tcp import Closing, ITcp
from meshtx.net.tls_transport import TlsTransport
from meshtx.pki.name import Name

HANDSHAKE = 10.0
"""Seconds for a handshake."""

LINGER = 30.0
"""Seconds for which a closing connection may make no progress."""

AFTER_FAILURE = 5.0
"""Seconds in which the peer may take the alert of a failed handshake."""


@dataclass(frozen=True, slots=True)
class Session:
    """What a handshake agreed on.

    :param peer: the workload that the peer has proved to be; ``None`` only where a client may be anonymous.
    :param alpn: the application protocol, ``""`` where none was negotiated.
    :param server_name: the SNI that the client sent.
    :param peer_expires: when the peer's certificate does; TLS does not look at it after the handshake.
    """

    peer: Name | None
    alpn: str
    server_name: str | None
    peer_expires: datetime | None

    @classmethod
    def of(cls, connection: SSL.Connection) -> Session:
        """Read it from a connection whose handshake is complete.

        :raises TlsError: a peer's name is required, and none was proved.
        """
        check = peer_check(connection)
        if check.found is None and (check.required or connection.get_peer_certificate() is not None):
            raise TlsError(TlsFailure.NO_CERTIFICATE, "the handshake ended without a verified name")
        return cls(
            check.found,
            _text(connection.get_alpn_proto_negotiated()),
            _text(connection.get_servername() or b"") or None,
            check.expires,
        )


@lru_cache(64)
def _text(octets: bytes) -> str:
    """Decode what most connections have alike: so they have it in common."""
    return octets.decode("ascii", "replace")


@implementer(IHalfCloseableProtocol)
class TlsProtocol(Protocol):
    """The protocol of a TCP connection that carries TLS.

    :param connection: of `Contexts`: client or server.
    :param established: called once, when the handshake is complete; returns the protocol above. One whose `lasting` is
        true is to last: then less memory is kept for it, at the cost of CPU time now.
    :param failed: called once if that never comes to be. Exactly one of the two is called.
    :param timeout: seconds for the handshake.
    :param linger: seconds without progress after which a connection that we close is aborted.
    """

    log = Logger()

    def __init__(
        self,
        connection: SSL.Connection,
        established: Callable[[Session], IProtocol],
        failed: Callable[[TlsError], None],
        clock: IReactorTime,
        timeout: float = HANDSHAKE,
        *,
        linger: float = LINGER,
    ) -> None:
        self._connection = connection
        self._records: RecordLayer
        self._untouched = True
        self._established: Callable[[Session], IProtocol] | None = established
        self._failed: Callable[[TlsError], None] | None = failed
        self._clock = clock
        self._timeout = timeout
        self._linger = linger
        self._deadline: IDelayedCall | None = None
        self._closing: Closing | None = None
        self._stream: TlsTransport | None = None

    def start_on(self, transport: ITransport, prefix: bytes = b"", *, untouched: bool = False) -> None:
        """Take over a transport from another protocol, with the bytes that it has read already.

        :param untouched: it has read nothing; without, those bytes may also come later, by `dataReceived`.
        """
        self._untouched = untouched
        transport.protocol = self  # type: ignore[attr-defined]  # of every transport in Twisted, of no interface
        self.makeConnection(transport)
        if prefix:
            self.dataReceived(prefix)

    def connectionMade(self) -> None:
        """Start the handshake and its deadline."""
        self._tcp = cast("ITcp", self.transport)
        if self._untouched and isinstance(self.transport, QuickTransport) and openssl.AVAILABLE:
            layer = SocketRecords(self._connection, self.transport)
            self._records, self._connection = layer, layer.connection
            self.transport.secure(layer)
        else:
            self._records = records(self._connection)
        self._deadline = self._clock.callLater(self._timeout, self._timed_out)
        if is_client(self._connection):
            self._shake(b"")

    def dataReceived(self, data: bytes) -> None:
        """Go on with the handshake, unless it has failed."""
        if self._failed is not None:
            self._shake(data)

    def readConnectionLost(self) -> None:
        """Take the peer's end of TCP."""
        if self._stream is not None:
            self._stream.tcp_ended()
        elif self._closing is not None:
            self._closing.finish(peer_finished=True)
        else:
            self._fail(TlsError(TlsFailure.TRUNCATED, "the peer closed in the handshake"))

    def writeConnectionLost(self) -> None:
        """Our end of TCP is sent: nothing to do, the rest is the peer's turn."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Take the loss of TCP."""
        self._stop_deadline()
        if self._closing is not None:
            self._closing.stop()
        if self._stream is not None:
            self._stream.lost(reason)
        elif reason.check(ConnectionDone):
            self._tell(TlsError(TlsFailure.TRUNCATED, "the peer closed in the handshake"))
        else:
            self._tell(TlsError(TlsFailure.OTHER, f"in the handshake: {reason.getErrorMessage()}"))
        self._stream = None
        self.__dict__.pop("dataReceived", None)  # it leads to what this is held by
        del self._records, self._connection  # OpenSSL's memory is to go now, not when garbage is collected

    def _shake(self, data: bytes) -> None:
        try:
            done = self._records.handshake(data)
            session = Session.of(self._connection) if done else None
        except TlsError as error:
            self._fail(without_frames(error))
            return
        except Exception:  # noqa: BLE001  the border to OpenSSL's callbacks: logged and refused
            self.log.failure("TLS handshake failed")
            self._fail(TlsError(TlsFailure.OTHER, "a defect of ours; the log has it"))
            return
        self._flush()
        if session is not None:
            self._establish(session)

    def _flush(self) -> None:
        waiting = self._records.drain()
        if waiting:
            self._tcp.write(waiting)

    def _establish(self, session: Session) -> None:
        self._stop_deadline()
        self._failed = None
        established, self._established = self._established, None  # nothing of its beginning is to last
        assert established is not None
        try:
            protocol = established(session)
        except Exception:  # noqa: BLE001  the border to the caller: logged, and the connection aborted
            self.log.failure("no protocol for an established TLS connection; aborted")
            self._tcp.abortConnection()
            return
        self._stream = TlsTransport(self._tcp, self._records, self._clock, self._linger)
        self.dataReceived = self._stream.received  # type: ignore[method-assign,assignment]  # a call less a chunk
        connection = self._connection
        self._stream.start(protocol)
        if getattr(protocol, "lasting", False):
            peer_keys.share(connection)

    def _timed_out(self) -> None:
        self._tell(TlsError(TlsFailure.TIMEOUT, f"no handshake within {self._timeout:g} s"))
        self._tcp.abortConnection()

    def _fail(self, error: TlsError) -> None:
        """Refuse: the alert first, for a connection closed with bytes unread would lose it."""
        self._stop_deadline()
        self._flush()
        if error.reason in (TlsFailure.REJECTED, TlsFailure.TRUNCATED):  # nobody there to take an alert
            self._tcp.abortConnection()
        else:
            self._closing = Closing(self._tcp, self._clock, AFTER_FAILURE)
            self._closing.finish(peer_finished=False)
        self._tell(error)

    def _tell(self, error: TlsError) -> None:
        failed, self._failed, self._established = self._failed, None, None
        if failed is not None:
            failed(error)

    def _stop_deadline(self) -> None:
        deadline, self._deadline = self._deadline, None
        call_off(deadline)
