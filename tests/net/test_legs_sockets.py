"""Legs over real sockets: plain TCP, and mutual TLS as in the mesh."""

from __future__ import annotations

import os
import sys
from fcntl import ioctl
from termios import FIONREAD

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol

from meshtx.net.contexts import Contexts
from meshtx.net.failures import TlsError, TlsFailure
from meshtx.net.legs import LegCall, LegRefused, LegReset, LegServer, LegTruncated
from meshtx.net.relay import RelayEnd, RelayResult, join
from meshtx.wire.leg_frames import ALPN, MAX_PAYLOAD, Data, Fin, Open, encode
from tests.net import tls_wire
from tests.net.certificates import VOTING, WEB, make_ca, make_leaf
from tests.net.leg_ends import Ledger, asking
from tests.net.tls_wire import Half, Side, WireCase, dial, listen, turns

CA = make_ca()
CLIENT = Contexts(make_leaf(CA, WEB), CA.trust)
SERVER = Contexts(make_leaf(CA, VOTING), CA.trust)
MIB = 1 << 20


class LegCase(WireCase):
    """The two applications `here` and `there`, joined by a leg; over TLS unless a subclass says otherwise."""

    timeout = 20
    overhead = 5 + 1 + 16
    """Bytes that a record is longer than what is in it."""

    def setUp(self) -> None:
        super().setUp()
        self.here: Protocol = Half()
        self.there: Protocol = Half()
        self.called: Deferred[LegCall] = Deferred()
        self.asked: Open | None = None

    def connect(self, here: Protocol | None = None) -> None:
        clock: IReactorTime = reactor
        self.client = asking(Open(80, "web:80"), here or self.here, clock)
        self.server = LegServer(self.opened, Ledger(), clock)
        self.carry(self.client, self.server)

    def carry(self, client: Protocol, server: Protocol) -> None:
        self.dialled = Side(CLIENT.client(VOTING, [ALPN]), client)
        self.accepted = Side(SERVER.server([ALPN]), server)
        tls_wire.join(self, self.dialled, self.accepted)

    def opened(self, opened: Open, call: LegCall) -> None:
        self.asked = opened
        self.called.callback(call)

    async def accept(self, there: Protocol | None = None) -> None:
        self.there = there or self.there
        self.connect()
        (await self.called).accept(self.there)


class ExchangeTests(LegCase):
    async def test_an_open_and_bytes_both_ways(self) -> None:
        await self.accept()
        self.assertEqual(self.asked, Open(80, "web:80"))
        self.here.transport.write(b"ping")
        self.assertEqual(await self.there.has(4), b"ping")
        self.there.transport.write(b"pong")
        self.assertEqual(await self.here.has(4), b"pong")

    async def test_a_half_closed_exchange_gets_its_whole_answer(self) -> None:
        await self.accept()
        question, answer = os.urandom(300_000), os.urandom(5 * MIB)
        self.here.transport.write(question)
        self.here.transport.loseWriteConnection()
        await self.there.eof
        self.assertEqual(bytes(self.there.data), question)
        self.there.transport.write(answer)
        self.there.transport.loseConnection()
        self.assertIsInstance(await self.here.lost, ConnectionDone)
        self.assertIsInstance(await self.there.lost, ConnectionDone)
        self.assertEqual(bytes(self.here.data), answer)
        self.assertEqual(self.here.log[-2:], ["eof", "lost"])

    async def test_what_follows_open_at_once_is_there_when_it_is_accepted(self) -> None:
        self.connect()
        call, early = await self.called, os.urandom(MIB)
        self.here.transport.write(early)
        self.here.transport.loseWriteConnection()
        await turns(0.05)
        call.accept(self.there)
        await self.there.eof
        self.assertEqual(bytes(self.there.data), early)

    async def test_a_reset_arrives_as_a_reset(self) -> None:
        await self.accept()
        self.here.transport.write(b"half")
        self.here.transport.abortConnection()
        self.assertIsInstance(await self.there.lost, LegReset)
        self.assertEqual(bytes(self.there.data), b"half")
        self.assertIsInstance(await self.here.lost, ConnectionAborted)

    async def test_a_cut_below_is_no_end(self) -> None:
        await self.accept()
        self.there.transport.write(b"half")
        await self.here.has(4)
        self.accepted.tcp.abortConnection()
        self.assertNotIsInstance(await self.here.lost, ConnectionDone)
        self.assertNotIn("eof", self.here.log)

    async def test_an_end_of_tls_without_fin_is_no_end(self) -> None:
        await self.accept()
        self.there.transport.write(b"half")
        await self.here.has(4)
        self.server.transport.loseConnection()
        self.assertIsInstance(await self.here.lost, LegTruncated)
        self.assertNotIn("eof", self.here.log)

    async def test_a_call_that_is_accepted_when_its_leg_is_lost_is_lost(self) -> None:
        self.connect()
        call = await self.called
        self.accepted.tcp.abortConnection()
        await self.accepted.closed
        call.accept(self.there)
        self.assertNotIsInstance(await self.there.lost, ConnectionDone)

    async def test_who_has_not_read_what_is_held_may_close_when_the_leg_is_lost(self) -> None:
        await self.over_and_held()
        self.there.transport.loseConnection()
        self.assertIsInstance(await self.there.lost, ConnectionDone)
        self.assertEqual(self.there.log, ["made", "data", "lost"])

    async def test_who_has_not_read_what_is_held_may_abort_when_the_leg_is_lost(self) -> None:
        await self.over_and_held()
        self.there.transport.abortConnection()
        self.assertIsInstance(await self.there.lost, ConnectionDone)
        self.assertEqual(self.there.log, ["made", "data", "lost"])

    async def over_and_held(self) -> None:
        """Have a connection that is over, and whose leg has ended, while the application still waits with its EOF."""
        await self.accept(Halting())
        self.there.transport.loseWriteConnection()
        await self.here.eof
        self.accepted.tcp.pauseProducing()
        data = bytes(MAX_PAYLOAD)  # it fills a record: so what comes behind it is read with it
        self.here.transport.write(data)
        self.here.transport.loseConnection()
        await self.unread(encode(Data(data)), encode(Fin()))
        self.accepted.tcp.resumeProducing()
        await self.there.has(MAX_PAYLOAD)
        await self.here.lost
        self.client.close()
        await self.accepted.closed

    async def unread(self, *frames: bytes) -> None:
        """Wait until these are to be read, each in a record of its own."""
        size = sum(len(frame) + self.overhead for frame in frames)
        while int.from_bytes(ioctl(self.accepted.tcp.fileno(), FIONREAD, bytes(4)), sys.byteorder) < size:
            await turns()


class TlsTests(LegCase):
    """What plain TCP cannot do: a close with bytes unread, an end that says that it is one."""

    async def test_a_refusal_arrives_although_bytes_were_on_their_way(self) -> None:
        self.connect()
        call = await self.called
        self.here.transport.write(bytes(100_000))
        await turns(0.05)
        call.refuse("no_rule")
        lost = await self.here.lost
        self.assertIsInstance(lost, LegRefused)
        self.assertEqual(str(lost), "refused by the peer's proxy: no_rule")
        await self.dialled.closed
        await self.accepted.closed

    async def test_an_end_of_tcp_without_close_notify_is_no_end(self) -> None:
        await self.accept()
        self.there.transport.write(b"half")
        await self.here.has(4)
        self.accepted.tcp.loseWriteConnection()
        lost = await self.here.lost
        self.assertIsInstance(lost, TlsError)
        assert isinstance(lost, TlsError)
        self.assertEqual(lost.reason, TlsFailure.TRUNCATED)


class PressureTests(LegCase):
    """Bytes that nobody reads stay where they are."""

    async def test_a_stopped_reader_stops_the_writer(self) -> None:
        await self.accept()
        self.there.transport.pauseProducing()
        source = Source(self.here.transport)
        await source.settled()
        self.assertTrue(source.paused)
        self.assertLess(source.written, 16 * MIB)  # what the kernel's two buffers take, and little else
        self.assertEqual(bytes(self.there.data), b"")
        before = source.written
        self.there.transport.resumeProducing()
        await self.there.has(before + MIB)
        source.stop()
        self.here.transport.loseConnection()
        await self.there.eof
        self.assertEqual(len(self.there.data), source.written)

    async def test_an_unanswered_call_stops_the_writer(self) -> None:
        self.connect()
        call = await self.called
        source = Source(self.here.transport)
        await source.settled()
        self.assertTrue(source.paused)
        source.stop()
        self.here.transport.loseWriteConnection()
        call.accept(self.there)
        await self.there.eof
        self.assertEqual(len(self.there.data), source.written)

    async def test_a_relay_runs_over_a_leg(self) -> None:
        far, near = RelayEnd(None, self.fail), RelayEnd(None, self.fail)
        ended: Deferred[RelayResult] = Deferred()
        self.connect(far)
        user = Half()
        dial(self, listen(self, near), user)
        call = await self.called
        join(near, far, ended.callback)
        question, answer = os.urandom(3 * MIB), os.urandom(3 * MIB)
        user.transport.write(question)
        user.transport.loseWriteConnection()
        call.accept(self.there)
        await self.there.eof
        self.assertEqual(bytes(self.there.data), question)
        self.there.transport.write(answer)
        self.there.transport.loseConnection()
        await user.eof
        user.transport.loseConnection()
        self.assertEqual(bytes(user.data), answer)
        self.assertEqual(await ended, RelayResult(3 * MIB, 3 * MIB, None))


class PlainTests(ExchangeTests):
    """The same over plain TCP, whose half-close and reset are those of Twisted."""

    overhead = 0

    def carry(self, client: Protocol, server: Protocol) -> None:
        self.dialled, self.accepted = Bare(client), Bare(server)
        dial(self, listen(self, server), client)
        self.addCleanup(self.hang_up)

    async def hang_up(self) -> None:
        for side in (self.dialled, self.accepted):
            if not side.closed.called:
                side.tcp.abortConnection()
                await side.closed


class Bare:
    """Stands for a `Side` without TLS."""

    def __init__(self, protocol: Protocol) -> None:
        self.outcome: Deferred[None] = Deferred()
        self.closed: Deferred[None] = Deferred()
        made, lost = protocol.connectionMade, protocol.connectionLost
        protocol.connectionMade = lambda: (made(), self.outcome.callback(None))
        protocol.connectionLost = lambda reason: (lost(reason), self.closed.callback(None))
        self.protocol = protocol

    @property
    def tcp(self):
        return self.protocol.transport


class Halting(Half):
    """Reads once."""

    def received(self, data: bytes) -> None:
        self.transport.pauseProducing()


class Source:
    """Writes as much as it may."""

    def __init__(self, transport) -> None:
        self.transport = transport
        self.written = 0
        self.paused = False
        self.stopped = False
        transport.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        self.paused = False
        reactor.callLater(0, self.go)

    def go(self) -> None:
        if not (self.paused or self.stopped):
            self.transport.write(bytes(60_000))
            self.written += 60_000
            reactor.callLater(0, self.go)

    def pauseProducing(self) -> None:
        self.paused = True

    def stopProducing(self) -> None:
        self.stopped = True

    def stop(self) -> None:
        self.stopped = True
        self.transport.unregisterProducer()

    async def settled(self) -> None:
        """Wait until nothing more goes."""
        before = -1
        while before != self.written:
            before = self.written
            await turns(0.1)
