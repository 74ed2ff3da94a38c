"""The dialler on real sockets: a connection, or the reason why there is none."""

from __future__ import annotations

import json
import os
import socket

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

from meshtx.net import sockets
from meshtx.net.dial import DialFailed, DialFailure, Dialler, _Race
from meshtx.net.poller import FdSet, Transports
from meshtx.net.sockets import SocketOptions
from meshtx.net.transports import Client
from meshtx.wire.address import Address
from tests.garbage import hold_collector, living
from tests.net.namespaces import Lab, why_not
from tests.net.transport_case import End, TransportCase, turns


class DialTests(TestCase):
    timeout = 20

    def setUp(self) -> None:
        self.end = End()
        self.dialler = Dialler(reactor, SocketOptions(), 5.0)

    def server(self, host: str = "127.0.0.1", family: int = socket.AF_INET, backlog: int | None = None) -> Address:
        self.listener = socket.create_server((host, 0), family=family, backlog=backlog)
        self.addCleanup(self.listener.close)
        return Address.of(*self.listener.getsockname()[:2])

    async def failure(self, dialling: Deferred[object]) -> DialFailed:
        with self.assertRaises(DialFailed) as caught:
            await dialling
        self.assertFalse(self.end.made.called)
        return caught.exception

    async def connected(self, address: Address) -> None:
        made = await self.dialler.dial(address, self.end)
        self.assertIs(made, self.end)
        self.assertTrue(self.end.made.called)
        self.assertEqual(Address.of(self.end.transport.getPeer().host, self.end.transport.getPeer().port), address)
        self.end.transport.loseConnection()
        self.assertIsInstance(await self.end.lost, ConnectionDone)

    async def test_it_fires_with_the_protocol_once_that_is_connected(self) -> None:
        await self.connected(self.server())

    async def test_it_dials_ipv6(self) -> None:
        await self.connected(self.server("::1", socket.AF_INET6))

    async def test_a_refusal_is_told_as_one(self) -> None:
        address = self.server()
        self.listener.close()
        failed = await self.failure(self.dialler.dial(address, self.end))
        self.assertEqual(
            (failed.address, failed.reason, failed.detail), (address, DialFailure.REFUSED, "Connection refused")
        )
        self.assertEqual(str(failed), f"connecting to {address}: Connection refused")

    def full(self) -> Address:
        """Return the address of a server that answers no SYN."""
        address = self.server(backlog=0)
        waiting = socket.create_connection(self.listener.getsockname())  # the one that the backlog holds
        self.addCleanup(waiting.close)
        return address

    async def test_no_answer_in_time_is_told_as_one(self) -> None:
        address = self.full()
        failed = await self.failure(Dialler(reactor, SocketOptions(), 0.05).dial(address, self.end))
        self.assertEqual((failed.reason, failed.detail), (DialFailure.TIMED_OUT, "no answer in time"))

    async def test_a_mark_that_is_not_permitted_fails_the_dial(self) -> None:
        def refuse(*_: object) -> None:
            raise PermissionError(1, os.strerror(1))

        self.patch(sockets, "set_mark", refuse)
        failed = await self.failure(self.dialler.dial(self.server(), self.end))
        self.assertEqual((failed.reason, failed.detail), (DialFailure.OTHER, "Operation not permitted"))

    async def test_the_socket_is_marked(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("needs root, to mark a socket")
        await Dialler(reactor, SocketOptions(mark=0x4D), 5.0).dial(self.server(), self.end)
        mark = self.end.transport.getHandle().getsockopt(socket.SOL_SOCKET, socket.SO_MARK)
        self.end.transport.loseConnection()
        await self.end.lost
        self.assertEqual(mark, 0x4D)

    async def test_cancelling_gives_up(self) -> None:
        dialling = self.dialler.dial(self.full(), self.end)
        dialling.cancel()
        with self.assertRaises(CancelledError):
            await dialling
        self.assertFalse(self.end.made.called)

    async def test_cancelling_in_the_last_moment_closes_the_connection(self) -> None:
        if isinstance(reactor, FdSet):
            raise SkipTest("with quick transports a dial to this host is over at once")
        self.end.made.addCallback(lambda _: dialling.cancel())
        dialling = self.dialler.dial(self.server(), self.end)
        with self.assertRaises(CancelledError):
            await dialling
        self.assertIsInstance(await self.end.lost, ConnectionDone)

    async def test_a_protocol_that_fails_in_connection_made_is_no_connection(self) -> None:
        class Broken(End):
            def connectionMade(self) -> None:
                raise ZeroDivisionError

        with self.assertRaises(DialFailed) as caught:
            await self.dialler.dial(self.server(), Broken())
        self.assertEqual(caught.exception.reason, DialFailure.OTHER)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class GarbageTests(TransportCase):
    """Dials that fail, and what reference counts have not freed of them."""

    kinds = (Client, _Race)

    def setUp(self) -> None:
        super().setUp()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.addCleanup(self.listener.close)
        self.address = Address.of(*self.listener.getsockname())
        hold_collector(self)
        self.others = living(self.kinds)

    def full(self) -> None:
        """Have the server answer no SYN."""
        self.addCleanup(socket.create_connection(self.listener.getsockname()).close)

    def dial(self, end: End) -> Deferred[object]:
        return Dialler(self.io, SocketOptions(), 0.05, hedges=(0.0,)).dial(self.address, end)

    async def nothing_is_left(self, dialling: Deferred[object]) -> None:
        with self.assertRaises((DialFailed, CancelledError)):
            await dialling
        del dialling
        await turns()
        self.assertEqual(living(self.kinds, self.others), {})

    async def test_one_that_is_refused(self) -> None:
        self.listener.close()
        await self.nothing_is_left(self.dial(End()))

    async def test_one_without_an_answer_in_time(self) -> None:
        self.full()
        await self.nothing_is_left(self.dial(End()))

    async def test_one_that_is_cancelled(self) -> None:
        self.full()
        dialling = self.dial(End())
        await turns()  # there are two attempts by now
        dialling.cancel()
        await self.nothing_is_left(dialling)


class TwistedGarbageTests(GarbageTests):
    transports = Transports.TWISTED


DIAL = """
import json, sys
from twisted.internet import defer, reactor, protocol
from meshtx.net.dial import Dialler
from meshtx.net.sockets import SocketOptions
from meshtx.wire.address import Address
async def main():
    dialler, said = Dialler(reactor, SocketOptions(), 5.0), []
    for target in sys.argv[1:]:
        try:
            await dialler.dial(Address.parse(target), protocol.Protocol())
            said.append(["connected", ""])
        except Exception as why:
            said.append([why.reason, why.detail])
    print(json.dumps(said))
    reactor.stop()
reactor.callWhenRunning(lambda: defer.ensureDeferred(main()))
reactor.run()
"""


class NetworkTests(SynchronousTestCase):
    """What takes a network of one's own."""

    skip = why_not()

    def setUp(self) -> None:
        lab = Lab()
        self.addCleanup(lab.remove)
        self.here = lab.namespace("dial")

    def dial(self, *targets: str) -> list[list[str]]:
        return json.loads(self.here.python(DIAL, *targets))

    def test_without_a_route_a_host_is_unreachable(self) -> None:
        self.assertEqual(self.dial("192.0.2.1:80", "[2001:db8::1]:80"), [["unreachable", "Network is unreachable"]] * 2)
        self.here.run("ip", "route", "add", "unreachable", "192.0.2.1")
        self.assertEqual(self.dial("192.0.2.1:80"), [["unreachable", "No route to host"]])

    def test_other_failures_keep_what_the_system_said(self) -> None:
        self.here.run("ip", "route", "add", "prohibit", "192.0.2.1")
        self.assertEqual(self.dial("192.0.2.1:80"), [["other", "Permission denied"]])

    def test_a_connection_that_would_meet_itself_is_refused(self) -> None:
        self.here.run("sh", "-c", "echo 40000 40000 >/proc/sys/net/ipv4/ip_local_port_range")
        self.assertEqual(self.dial("127.0.0.1:40000", "[::1]:40000"), [["refused", "Connection refused"]] * 2)
