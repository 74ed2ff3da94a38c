"""Our TCP transports on real sockets: what the peer sees of each way to end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from meshtx.net import transports
from meshtx.net.dial import Dialler
from meshtx.net.listen import listen
from meshtx.net.sockets import SocketOptions
from meshtx.wire.address import Address
from tests.net.namespaces import ROOT
from tests.net.test_sockets import linger, tcp_option

ANY = Address.parse("127.0.0.1:0")
BIG = 8 * 1024 * 1024


class End(Protocol):
    """Says when it is connected and lost, and keeps what it got."""

    def __init__(self) -> None:
        self.made: Deferred[End] = Deferred()
        self.lost: Deferred[BaseException | None] = Deferred()
        self.got = b""

    def connectionMade(self) -> None:
        self.made.callback(self)

    def dataReceived(self, data: bytes) -> None:
        self.got += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.callback(reason.value)


@implementer(IHalfCloseableProtocol)
class HalfCloseable(End):
    def __init__(self) -> None:
        super().__init__()
        self.eof: Deferred[None] = Deferred()

    def readConnectionLost(self) -> None:
        self.eof.callback(None)

    def writeConnectionLost(self) -> None:
        pass


class Peer:
    """The other side: a plain socket, read in a thread until it ends."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(10)

    def read_to_the_end(self) -> tuple[int, str]:
        """Return how many bytes came, and how it ended: ``eof`` or ``reset``."""
        size = 0
        try:
            while data := self.sock.recv(1 << 20):
                size += len(data)
        except ConnectionResetError:
            return size, "reset"
        return size, "eof"


class TransportTests(TestCase):
    """Each test runs for an accepted connection; `DialledTests` does the same for a dialled one."""

    timeout = 20

    async def connect(self, end: End) -> Peer:
        """Connect an end of ours with a peer."""
        factory = Factory.forProtocol(lambda: end)
        port = listen(reactor, ANY, factory, SocketOptions())
        self.addCleanup(port.stopListening)
        peer = Peer(await deferToThread(socket.create_connection, ("127.0.0.1", port.getHost().port)))
        self.addCleanup(peer.sock.close)
        await end.made
        return peer

    async def ending(self, act: Callable[[End], object], end: End | None = None) -> tuple[int, str]:
        """Let an act end the connection; return what the peer saw."""
        end = end or End()
        peer = await self.connect(end)
        act(end)
        seen = await deferToThread(peer.read_to_the_end)
        await end.lost
        return seen

    async def test_a_close_that_was_asked_for_sends_everything_and_ends_in_order(self) -> None:
        def act(end: End) -> None:
            end.transport.write(b"x" * BIG)
            end.transport.loseConnection()

        self.assertEqual(await self.ending(act), (BIG, "eof"))

    async def test_an_abort_is_a_reset(self) -> None:
        self.assertEqual(await self.ending(lambda end: end.transport.abortConnection()), (0, "reset"))

    async def test_an_exception_in_a_protocol_is_a_reset(self) -> None:
        class Broken(End):
            def dataReceived(self, data: bytes) -> None:
                raise ZeroDivisionError

        end = Broken()
        peer = await self.connect(end)
        peer.sock.sendall(b"x")
        self.assertEqual(await deferToThread(peer.read_to_the_end), (0, "reset"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_the_end_of_the_reactor_is_a_reset(self) -> None:
        def act(end: End) -> None:
            end.transport.connectionLost(Failure(ConnectionLost()))

        self.assertEqual(await self.ending(act), (0, "reset"))

    async def test_an_end_in_order_with_bytes_unsent_is_a_reset(self) -> None:
        def act(end: End) -> None:
            end.transport.write(b"x")
            end.transport.connectionLost(Failure(ConnectionDone()))

        self.assertEqual(await self.ending(act), (0, "reset"))

    async def test_a_protocol_that_knows_no_half_close_ends_in_order_with_its_peer(self) -> None:
        end = End()
        peer = await self.connect(end)
        peer.sock.shutdown(socket.SHUT_WR)
        self.assertEqual(await deferToThread(peer.read_to_the_end), (0, "eof"))
        self.assertIsInstance(await end.lost, ConnectionDone)

    async def test_after_the_peers_eof_the_answer_goes_out_whole(self) -> None:
        end = HalfCloseable()
        peer = await self.connect(end)
        peer.sock.sendall(b"question")
        peer.sock.shutdown(socket.SHUT_WR)
        await end.eof
        end.transport.write(b"x" * BIG)
        end.transport.loseConnection()
        self.assertEqual((await deferToThread(peer.read_to_the_end), end.got), ((BIG, "eof"), b"question"))
        await end.lost

    async def test_our_half_close_leaves_the_other_direction_open(self) -> None:
        end = HalfCloseable()
        peer = await self.connect(end)
        end.transport.write(b"question")
        end.transport.loseWriteConnection()
        self.assertEqual(await deferToThread(peer.read_to_the_end), (8, "eof"))
        peer.sock.sendall(b"answer")
        peer.sock.shutdown(socket.SHUT_WR)
        await end.eof
        self.assertEqual(end.got, b"answer")
        end.transport.loseConnection()
        self.assertIsInstance(await end.lost, ConnectionDone)

    async def test_a_half_closed_connection_is_still_armed(self) -> None:
        end = HalfCloseable()
        peer = await self.connect(end)
        end.transport.loseWriteConnection()
        self.assertEqual(await deferToThread(peer.read_to_the_end), (0, "eof"))
        end.transport.abortConnection()
        await end.lost
        with self.assertRaises(BrokenPipeError):  # what a reset behind a FIN is to its receiver, at once
            peer.sock.send(b"x")

    async def test_the_peers_reset_is_no_end_in_order(self) -> None:
        end = HalfCloseable()
        peer = await self.connect(end)
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.sock.close()
        self.assertIsInstance(await end.lost, ConnectionLost)
        self.assertFalse(end.eof.called)

    async def test_a_close_that_nobody_takes_ends_in_a_reset(self) -> None:
        self.patch(transports, "LINGER", 0.05)
        end = End()
        peer = await self.connect(end)
        end.transport.write(b"x" * BIG)
        end.transport.loseConnection()
        self.assertIsInstance(await end.lost, ConnectionAborted)
        size, ending = await deferToThread(peer.read_to_the_end)
        self.assertEqual(ending, "reset")
        self.assertLess(size, BIG)

    async def test_the_socket_is_armed_and_has_our_options(self) -> None:
        end = End()
        await self.connect(end)
        sock = end.transport.getHandle()
        self.assertEqual(linger(sock), (1, 0))
        self.assertEqual(tcp_option(sock, "TCP_USER_TIMEOUT"), 30_000)
        self.assertNotEqual(tcp_option(sock, "TCP_NODELAY"), 0)
        end.transport.loseConnection()
        await end.lost


class DialledTests(TransportTests):
    """The same for a dialled connection."""

    async def connect(self, end: End) -> Peer:
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        await Dialler(reactor, SocketOptions(), 5.0).dial(Address.of(*listener.getsockname()), end)
        peer = Peer(listener.accept()[0])
        self.addCleanup(peer.sock.close)
        return peer


ANSWERING = """
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from meshtx.net.listen import listen
from meshtx.net.sockets import SocketOptions
from meshtx.wire.address import Address
class Answer(Protocol):
    def connectionMade(self): self.transport.write(b"half an answer")
port = listen(reactor, Address.parse("127.0.0.1:0"), Factory.forProtocol(Answer), SocketOptions())
print(port.getHost().port, flush=True)
reactor.run()
"""


class KilledTests(TestCase):
    timeout = 20

    async def test_a_process_that_is_killed_in_mid_answer_resets_its_connections(self) -> None:
        process = subprocess.Popen(  # noqa: ASYNC220  # it starts in no time, and nothing else is going on
            [sys.executable, "-c", ANSWERING], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        port = int(await deferToThread(process.stdout.readline))
        peer = Peer(await deferToThread(socket.create_connection, ("127.0.0.1", port)))
        self.addCleanup(peer.sock.close)
        self.assertEqual(await deferToThread(peer.sock.recv, 100), b"half an answer")
        process.send_signal(signal.SIGKILL)
        self.assertEqual(await deferToThread(peer.read_to_the_end), (0, "reset"))
