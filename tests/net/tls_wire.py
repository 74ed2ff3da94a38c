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
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from meshtx.net.failures import TlsError
from meshtx.net.tls import Session, TlsProtocol

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


class _Watched(TlsProtocol):
    side: Side

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        self.side.closed.callback(reason.value)


def listen(case: TestCase, protocol: Protocol) -> int:
    """Listen for one connection on loopback; return the port."""
    factory = Factory()
    factory.noisy = False
    factory.buildProtocol = lambda _address: protocol
    port = installed.listenTCP(0, factory, interface="127.0.0.1")
    case.addCleanup(port.stopListening)
    return port.getHost().port


def dial(port: int, protocol: Protocol) -> None:
    from twisted.internet.protocol import ClientFactory

    factory = ClientFactory()
    factory.noisy = False
    factory.buildProtocol = lambda _address: protocol
    installed.connectTCP("127.0.0.1", port, factory)


def join(case: TestCase, client: Side, server: Side) -> None:
    """Connect both; whatever is left at the test's end is aborted."""
    dial(listen(case, server.tls), client.tls)
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
