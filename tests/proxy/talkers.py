"""Applications of tests: what they were told, and how their connections ended."""

from __future__ import annotations

from dataclasses import dataclass, field

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from meshtx.wire.address import Address


@implementer(IHalfCloseableProtocol)
class Talker(Protocol):
    """One end of an application's connection: keeps what it got and lets a test wait for it.

    :param greeting: said as soon as there is a connection.
    :param closes: close our side when the other has closed its own.
    """

    def __init__(self, greeting: bytes = b"", *, closes: bool = True) -> None:
        self.got = bytearray()
        self.made: Deferred[None] = Deferred()
        self.eof: Deferred[None] = Deferred()
        self.lost: Deferred[str] = Deferred()
        self._greeting = greeting
        self._closes = closes
        self._waiting: list[tuple[int, Deferred[bytes]]] = []

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        if self._greeting:
            self.transport.write(self._greeting)
        self.made.callback(None)

    def dataReceived(self, data: bytes) -> None:
        self.got += data
        for entry in [each for each in self._waiting if len(self.got) >= each[0]]:
            self._waiting.remove(entry)
            entry[1].callback(bytes(self.got))

    def has(self, size: int) -> Deferred[bytes]:
        """Fire with everything once at least that much is here; fail if the connection ends before."""
        waiting: Deferred[bytes] = Deferred()
        if len(self.got) >= size:
            waiting.callback(bytes(self.got))
        elif self.lost.called:
            waiting.errback(AssertionError(f"the connection ended, with {bytes(self.got)!r}"))
        else:
            self._waiting.append((size, waiting))
        return waiting

    def readConnectionLost(self) -> None:
        self.eof.callback(None)
        if self._closes:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Nothing follows."""

    def connectionLost(self, reason: Failure) -> None:
        waiting, self._waiting = self._waiting, []
        self.lost.callback("closed" if reason.check(ConnectionDone) else "reset")
        for _, deferred in waiting:
            deferred.errback(AssertionError(f"the connection ended, with {bytes(self.got)!r}"))


class Echo(Talker):
    """Says everything back."""

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        self.transport.write(data)


@dataclass
class Application:
    """Where a workload listens, and the connections that it got."""

    address: Address
    connections: list[Talker] = field(default_factory=list)
    waiting: list[Deferred[Talker]] = field(default_factory=list)

    def next(self) -> Deferred[Talker]:
        """Fire with the next connection."""
        deferred: Deferred[Talker] = Deferred()
        self.waiting.append(deferred)
        return deferred

    @property
    def got(self) -> bytes:
        """All bytes of all connections."""
        return b"".join(bytes(each.got) for each in self.connections)
