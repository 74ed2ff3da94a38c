"""One end of TLS for each record layer, all with the same handles: what it has to send, and what is given to it.

    MemoryEnd:   RecordLayer ◀── give / take ──▶ the test
    SocketEnd:   RecordLayer ── QuickTransport ── TCP ── a plain socket ◀── give / take ──▶ the test

The socket's poller is turned by hand, so that a test decides what comes in one turn.
"""

from __future__ import annotations

import contextlib
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable
from fcntl import ioctl
from select import select
from termios import TIOCOUTQ
from types import SimpleNamespace
from typing import Any

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from meshtx.net.failures import TlsError, TlsFailure
from meshtx.net.poller import Poller
from meshtx.net.quick_ends import QuickServer
from meshtx.net.records import Close, PublicRecords, RecordLayer
from meshtx.net.socket_records import SocketRecords
from meshtx.net.sockets import SocketOptions, arm
from tests.net.transport_case import unsent


class End(ABC):
    """What is the same on both: a handshake, then plain bytes."""

    records: Any

    def __init__(self) -> None:
        self.shaken = False
        self.failed: TlsError | None = None
        self.got = b""
        """The plain bytes that came."""

    @property
    def ended(self) -> Close | TlsError | None:
        """Why no more comes."""
        return self.records.ended

    def received(self, cipher: bytes) -> None:
        """Do what `TlsProtocol` and `TlsTransport` do with it."""
        if self.failed is not None:
            return
        if not self.shaken:
            try:
                self.shaken = self.records.handshake(cipher)
            except TlsError as error:
                self.failed = error
                return
            except ZeroDivisionError as error:  # a test's defect of ours
                self.failed = TlsError(TlsFailure.OTHER, str(error))
                return
            cipher = b""
        if self.shaken:
            self.got += self.records.open(cipher)

    # For each kind.

    @abstractmethod
    def give(self, cipher: bytes) -> None:
        """Let bytes come from the peer."""

    @abstractmethod
    def take(self) -> bytes:
        """Return what is to be sent to the peer."""

    @abstractmethod
    def send(self, data: bytes) -> None:
        """Send plain bytes."""

    @abstractmethod
    def close_notify(self) -> None:
        """End our direction."""


class MemoryEnd(End):
    """Over memory BIOs."""

    def __init__(self, case: SynchronousTestCase, kind: type[PublicRecords], connection: SSL.Connection) -> None:
        super().__init__()
        self.records: RecordLayer = kind(connection)
        self._out = b""

    def begin(self) -> None:
        """Send the first flight."""
        self.received(b"")

    def give(self, cipher: bytes) -> None:
        self.received(cipher)

    def take(self) -> bytes:
        out, self._out = self._out + self.records.drain(), b""
        return out

    def send(self, data: bytes) -> None:
        self._out += self.records.seal(data)

    def close_notify(self) -> None:
        self._out += self.records.close_notify()


@implementer(IHalfCloseableProtocol)
class _Reader(Protocol):
    """The protocol of the transport: keeps how TCP ended."""

    def __init__(self, received: Callable[[bytes], None]) -> None:
        self.received = received
        self.log: list[str] = []

    def dataReceived(self, data: bytes) -> None:
        self.received(data)

    def readConnectionLost(self) -> None:
        self.log.append("eof")

    def writeConnectionLost(self) -> None:
        self.log.append("write lost")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.log.append("lost" if reason.check(ConnectionDone) is None else "done")


class Outer(Clock):
    """A reactor around the poller that leaves it to the test to turn it."""

    def addReader(self, reader: object) -> None: ...

    def removeReader(self, reader: object) -> None: ...


class SocketEnd(End):
    """On a socket."""

    def __init__(self, case: SynchronousTestCase, kind: type[SocketRecords], connection: SSL.Connection) -> None:
        super().__init__()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.wire = socket.create_connection(listener.getsockname())
            sock, peer = listener.accept()
        self.wire.setblocking(False)
        arm(sock, SocketOptions())
        outer = Outer()
        self.poller = Poller(outer)
        self.reader = _Reader(self.received)
        port: Any = SimpleNamespace(options=SocketOptions(), _realPortNumber=0)
        self.tcp = QuickServer(sock, self.reader, peer, port, 0, self.poller)
        self.reader.makeConnection(self.tcp)
        self.records = kind(connection, self.tcp)
        self.tcp.secure(self.records)
        outer.advance(0)  # it begins to read
        case.addCleanup(self.close)

    def close(self) -> None:
        """Be gone."""
        self.wire.close()
        if self.tcp.connected:
            self.tcp.connectionLost(Failure(ConnectionDone()))

    def turn(self, *, patience: float = 0) -> None:
        """Serve what has happened, until nothing does any more.

        :param patience: seconds in which something has to happen at first.
        """
        for _ in range(10_000):
            if not select([self.poller], [], [], patience)[0]:
                assert not patience, "nothing happened"
                return
            patience = 0
            self.poller.doRead()
        raise AssertionError("it goes round in circles")

    def begin(self) -> None:
        """Send the first flight."""
        self.received(b"")

    def give(self, cipher: bytes) -> None:
        while cipher or _on_the_way(self.wire):
            with contextlib.suppress(BlockingIOError):
                cipher = cipher[self.wire.send(cipher) :]
            self.turn()
        self.turn()

    def take(self) -> bytes:
        out = b""
        while True:
            self.turn()
            moves = self.tcp.connected and (_on_the_way(self.tcp.socket) or unsent(self.tcp))
            try:
                data = self.wire.recv(2**20)
            except BlockingIOError:
                if not moves:
                    return out
            else:
                out += data
                if not data:
                    return out

    def end(self) -> None:
        """Let TCP's end come from the peer."""
        self.wire.shutdown(socket.SHUT_WR)
        self.turn(patience=10)

    def reset(self) -> None:
        """Let a reset come from the peer."""
        self.wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.wire.close()
        self.turn(patience=10)

    def send(self, data: bytes) -> None:
        self.tcp.write(self.records.seal(data))

    def close_notify(self) -> None:
        self.tcp.write(self.records.close_notify())


def _on_the_way(sock: socket.socket) -> bool:
    """Return whether the other side's kernel does not have everything yet that was sent."""
    return ioctl(sock, TIOCOUTQ, bytes(4)) != bytes(4)
