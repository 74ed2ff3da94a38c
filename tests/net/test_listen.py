"""Listeners on real sockets."""

from __future__ import annotations

import errno
import os
import socket

from twisted.internet import reactor, tcp
from twisted.internet.error import CannotListenError, ConnectionAborted
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

from meshtx.net import quick_ends, sockets, transports
from meshtx.net.listen import MOST_ACCEPTED, WINDOW, Port, listen
from meshtx.net.sockets import SocketOptions, arm
from meshtx.wire.address import Address
from tests.net.transport_case import End


class Exhausted:
    """A listening socket of a process that has no descriptor left, to which so many connect."""

    def __init__(self, clients: int) -> None:
        self.answers: list[object] = [errno.EMFILE, *((self, ("192.0.2.1", n)) for n in range(clients)), errno.EAGAIN]
        self.closed = 0

    def accept(self) -> object:
        answer = self.answers.pop(0)
        if isinstance(answer, int):
            raise OSError(answer, "as it is")
        return answer

    def close(self) -> None:
        self.closed += 1


class Crowd(Exhausted):
    """A listening socket to which more connect than are accepted in one turn."""

    def __init__(self) -> None:
        super().__init__(1000)
        del self.answers[0]


class ExhaustedTests(SynchronousTestCase):
    def test_who_connects_while_there_is_no_descriptor_left_is_counted_and_does_not_fill_the_log(self) -> None:
        lines: list[str] = []

        def line(event: LogEvent) -> None:
            lines.append(formatEvent(event))

        globalLogPublisher.addObserver(line)
        self.addCleanup(globalLogPublisher.removeObserver, line)
        tcp._reservedFD.reserve()  # as whoever listens has it
        clock = Clock()
        unserved: list[None] = []
        address = Address.parse("192.0.2.2:80")
        port = Port(address, Factory(), SocketOptions(), 1, clock, unserved=lambda: unserved.append(None))
        for seconds, clients in ((WINDOW - 1, 3), (1, 4), (0, 5)):
            port.socket, port.numberAccepts = Exhausted(clients), 100  # type: ignore[assignment]
            port.doRead()
            self.assertEqual(port.socket.closed, clients)  # type: ignore[attr-defined]
            clock.advance(seconds)
        port.socket = Exhausted(1)  # type: ignore[assignment]
        port.doRead()
        closed = [each for each in lines if "Closed socket" in each]
        self.assertEqual(closed[0], "EMFILE recovery: Closed socket from ('192.0.2.1', 0)")
        self.assertEqual(closed[1], "EMFILE recovery: Closed socket from ('192.0.2.1', 0), and 6 more before it")
        self.assertEqual(len(closed), 2)
        self.assertEqual(len(unserved), 13)


class TurnTests(SynchronousTestCase):
    def test_a_turn_accepts_so_many_and_never_more(self) -> None:
        nobody = Factory()
        nobody.buildProtocol = lambda _: None  # type: ignore[method-assign,assignment]  # each is closed at once
        port = Port(Address.parse("192.0.2.2:80"), nobody, SocketOptions(), 1, Clock(), unserved=lambda: None)
        for _ in range(5):  # Twisted would accept 20 more each time
            port.socket = Crowd()  # type: ignore[assignment]
            port.doRead()
            self.assertEqual(port.socket.closed, MOST_ACCEPTED)  # type: ignore[attr-defined]


class ListenTests(TestCase):
    timeout = 20

    def listen(self, address: str, mark: int | None = None) -> IListeningPort:
        self.ends: list[End] = []
        port = listen(reactor, Address.parse(address), Factory.forProtocol(self.accept), SocketOptions(mark))
        self.addCleanup(port.stopListening)
        return port

    def accept(self) -> End:
        self.ends.append(End())
        return self.ends[-1]

    async def test_both_families_can_share_a_port(self) -> None:
        ipv4 = self.listen("0.0.0.0:0")
        ipv6 = self.listen(f"[::]:{ipv4.getHost().port}")
        self.assertEqual(ipv6.getHost().port, ipv4.getHost().port)

    async def test_a_busy_port_is_an_error_at_once(self) -> None:
        port = self.listen("127.0.0.1:0").getHost().port
        with self.assertRaises(CannotListenError) as caught:
            self.listen(f"127.0.0.1:{port}")
        self.assertEqual((caught.exception.interface, caught.exception.port), ("127.0.0.1", port))

    async def test_an_address_of_somebody_else_is_an_error_at_once(self) -> None:
        with self.assertRaises(CannotListenError):
            self.listen("192.0.2.1:0")

    async def test_a_port_can_be_taken_again_while_old_connections_linger(self) -> None:
        port = self.listen("127.0.0.1:0")
        client = await deferToThread(socket.create_connection, ("127.0.0.1", port.getHost().port))
        self.addCleanup(client.close)
        await self.ends[0].made
        number = port.getHost().port
        self.ends[0].transport.loseConnection()  # the side that closes first waits in TIME_WAIT
        await self.ends[0].lost
        client.close()
        await port.stopListening()
        self.listen(f"127.0.0.1:{number}")

    async def test_accepting_is_pythons_own(self) -> None:
        listener = self.listen("127.0.0.1:0").socket
        self.assertIs(type(listener).accept, socket.socket.accept)
        self.assertEqual((listener.family, listener.type), (socket.AF_INET, socket.SOCK_STREAM))

    async def test_the_listener_is_marked_before_it_binds(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("needs root, to mark a socket")
        port = self.listen("127.0.0.1:0", mark=0x4D)
        self.assertEqual(port.socket.getsockopt(socket.SOL_SOCKET, socket.SO_MARK), 0x4D)

    async def test_a_mark_that_is_not_permitted_is_an_error_at_once(self) -> None:
        def refuse(*_: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        self.patch(sockets, "set_mark", refuse)
        with self.assertRaises(CannotListenError) as caught:
            self.listen("127.0.0.1:0", mark=0x4D)
        self.assertIsInstance(caught.exception.socketError, PermissionError)

    async def test_a_connection_whose_options_fail_is_reset_and_the_next_is_accepted(self) -> None:
        refusals = [OSError(22, "Invalid argument")]

        def arm_the_second(sock: socket.socket, options: SocketOptions) -> None:
            if refusals:
                raise refusals.pop()
            arm(sock, options)

        self.patch(transports, "arm", arm_the_second)
        for module in (transports, quick_ends):
            self.patch(module, "INHERITED", False)
        port = self.listen("127.0.0.1:0").getHost().port
        clients = [await deferToThread(socket.create_connection, ("127.0.0.1", port)) for _ in range(2)]
        for client in clients:
            self.addCleanup(client.close)
        while len(self.ends) < 2:
            await deferToThread(lambda: None)
        self.assertIsInstance(await self.ends[0].lost, ConnectionAborted)
        self.ends[1].transport.loseConnection()
        await self.ends[1].lost
        self.assertEqual(await deferToThread(clients[1].recv, 1), b"")
