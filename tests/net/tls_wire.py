"""Two ends of TLS over a real loopback connection, and what they saw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from OpenSSL import SSL
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IHalfCloseableProtocol, IReactorTime
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from meshtx.net.dial import Dialler
from meshtx.net.failures import TlsError
from meshtx.net.listen import listen as net_listen
from meshtx.net.poller import Transports
from meshtx.net.socket_records import SocketRecords
from meshtx.net.sockets import SocketOptions
from meshtx.net.tls import Session, TlsProtocol
from meshtx.wire.address import Address
from tests.net.transport_case import ANY, TransportCase, unsent

reactor: object = installed


class Plain(Protocol):
    """Keeps what it is told, in order; does not know half-close."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.log: list[object] = []
        self.lost: Deferred[Exception] = Deferred()
        self._waiting: list[tuple[int, Deferred[bytes]]] = []
        self._inside = False

    def _enter(self, what: object) -> None:
        assert not self._inside, f"{what} called from within another call"
        assert "lost" not in self.log, f"{what} called after connectionLost"
        self.log.append(what)

    def connectionMade(self) -> None:
        self._enter("made")

    def dataReceived(self, data: bytes) -> None:
        self._enter("data")
        self._inside = True
        self.data += data
        for entry in [entry for entry in self._waiting if len(self.data) >= entry[0]]:
            self._waiting.remove(entry)
            installed.callLater(0, entry[1].callback, bytes(self.data))
        self.received(data)
        self._inside = False

    def received(self, data: bytes) -> None:
        """For subclasses: what to do inside dataReceived."""

    def connectionLost(self, reason: Failure) -> None:
        self._enter("lost")
        assert reason.value is not None
        self.lost.callback(reason.value)

    def has(self, size: int) -> Deferred[bytes]:
        """Fire when that many bytes are here."""
        waiting: Deferred[bytes] = Deferred()
        if len(self.data) >= size:
            waiting.callback(bytes(self.data))
        else:
            self._waiting.append((size, waiting))
        return waiting


@implementer(IHalfCloseableProtocol)
class Half(Plain):
    """The same, and knows half-close."""

    def __init__(self) -> None:
        super().__init__()
        self.eof: Deferred[None] = Deferred()

    def readConnectionLost(self) -> None:
        self._enter("eof")
        self.eof.callback(None)

    def writeConnectionLost(self) -> None:
        self._enter("write lost")


@dataclass
class Side:
    """One end: its pump, and what came of its handshake."""

    connection: SSL.Connection
    app: Plain
    clock: IReactorTime = installed  # type: ignore[assignment]
    timeout: float = 10.0
    linger: float = 30.0
    prefix_from: Callable[[], bytes] | None = None
    outcome: Deferred[Session | TlsError] = field(default_factory=Deferred)
    closed: Deferred[BaseException | None] = field(default_factory=Deferred)

    def __post_init__(self) -> None:
        self.tls = _Watched(
            self.connection, self._established, self._failed, self.clock, self.timeout, linger=self.linger
        )
        self.tls.side = self

    def _established(self, session: Session) -> Plain:
        self.outcome.callback(session)
        return self.app

    def _failed(self, error: TlsError) -> None:
        self.outcome.callback(error)

    @property
    def tcp(self):
        return self.tls.transport

    @property
    def on_socket(self) -> bool:
        """TLS has the socket itself."""
        return isinstance(self.tls._records, SocketRecords)

    def raw(self, data: bytes) -> None:
        """Send bytes below TLS."""
        if self.on_socket:
            assert not unsent(self.tcp)
            assert self.tcp.getHandle().send(data) == len(data)
        else:
            self.tcp.write(data)


class _Watched(TlsProtocol):
    side: Side

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        self.side.closed.callback(reason.value)


class WireCase(TransportCase):
    """Connections on transports of ours: Twisted's kind has TLS over memory BIOs, the quick one on the socket."""

    timeout = 10.0
    transports = Transports.TWISTED


def listen(case: TransportCase, protocol: Protocol) -> int:
    """Listen for one connection on loopback; return the port."""
    port = net_listen(case.io, ANY, Factory.forProtocol(lambda: protocol), SocketOptions())
    case.addCleanup(port.stopListening)
    return port.getHost().port


def dial(case: TransportCase, port: int, protocol: Protocol) -> None:
    """Connect to a port on loopback."""
    Dialler(case.io, SocketOptions(), 5.0).dial(Address("127.0.0.1", port), protocol)


def join(case: TransportCase, client: Side, server: Side) -> None:
    """Connect both; whatever is left at the test's end is aborted."""
    dial(case, listen(case, server.tls), client.tls)
    for side in (client, server):
        case.addCleanup(_abort, side)


def outcomes(client: Side, server: Side) -> Deferred[list[Session | TlsError]]:
    return gatherResults([client.outcome, server.outcome])


def _abort(side: Side) -> Deferred[object] | None:
    tcp = side.tcp
    if tcp is None or side.closed.called:
        return None
    tcp.abortConnection()
    return side.closed


def turns(seconds: float = 0.0) -> Deferred[None]:
    """Let the reactor turn."""
    return deferLater(installed, seconds, lambda: None)
