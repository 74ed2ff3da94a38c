"""The established connection: its ends, its back-pressure, and what is called when."""

from __future__ import annotations

import contextlib
import resource
import socket
from io import BytesIO

from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IPushProducer, ISystemHandle, ITCPTransport
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.protocols.basic import FileSender
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from meshtx.net.contexts import Contexts, peer_check
from meshtx.net.failures import TlsError, TlsFailure
from meshtx.net.tls import LINGER
from meshtx.net.tls_transport import UNASKED
from tests.net.certificates import VOTING, WEB, make_ca, make_leaf
from tests.net.tls_wire import Half, Plain, Side, join, listen, outcomes, turns

CA = make_ca()
CLIENT = Contexts(make_leaf(CA, WEB), CA.trust)
SERVER = Contexts(make_leaf(CA, VOTING), CA.trust)

BIG = bytes(range(256)) * 4 * 4096
"""4 MiB: more than the kernel's buffers on loopback."""


class Case(TestCase):
    timeout = 10.0

    async def pair(self, client: Plain | None = None, server: Plain | None = None, **options) -> tuple[Side, Side]:
        """Return both ends, established; the options are of the client."""
        c = Side(CLIENT.client(VOTING), client or Half(), **options)
        s = Side(SERVER.server(), server or Half())
        join(self, c, s)
        await outcomes(c, s)
        await turns()
        return c, s

    def assert_truncated(self, error: object) -> None:
        assert isinstance(error, TlsError), error
        self.assertEqual(
            (error.reason, error.detail), (TlsFailure.TRUNCATED, "the peer ended TCP without close_notify")
        )


class EndsTests(Case):
    async def test_one_direction_ends_and_the_other_goes_on(self) -> None:
        for swapped in (False, True):
            a, b = await self.pair()
            if swapped:
                a, b = b, a
            a.app.transport.write(b"question")
            a.app.transport.loseWriteConnection()
            await b.app.eof
            self.assertEqual(b.app.data, b"question")
            b.app.transport.write(BIG)
            b.app.transport.loseConnection()
            await a.app.eof
            self.assertEqual(a.app.data, BIG)
            a.app.transport.loseConnection()
            self.assertIsInstance(await a.app.lost, ConnectionDone)
            self.assertIsInstance(await b.app.lost, ConnectionDone)

    async def test_a_protocol_without_half_close_is_closed_with_its_peer(self) -> None:
        c, s = await self.pair(server=Plain())
        c.app.transport.write(b"last")
        c.app.transport.loseConnection()
        self.assertIsInstance(await s.app.lost, ConnectionDone)
        self.assertIsInstance(await c.app.lost, ConnectionDone)
        self.assertEqual((s.app.data, s.app.log), (b"last", ["made", "data", "lost"]))

    async def test_everything_written_arrives_though_the_peer_still_sends(self) -> None:
        """Twisted's TCP closes with what the peer sent unread, and then the kernel drops what is unsent."""
        c, s = await self.pair(server=Plain())
        c.app.transport.write(BIG)
        s.app.transport.write(BIG)
        s.app.transport.loseConnection()
        await c.app.eof
        self.assertEqual(c.app.data, BIG)
        c.app.transport.loseConnection()
        self.assertIsInstance(await s.app.lost, ConnectionDone)
        self.assertIsInstance(await c.app.lost, ConnectionDone)

    async def test_tcp_that_ends_without_close_notify_is_cut_short(self) -> None:
        for end in (Half, Plain):
            c, s = await self.pair(server=end())
            c.app.transport.write(b"half an ans")
            c.tcp.loseConnection()
            self.assert_truncated(await s.app.lost)
            self.assertEqual((s.app.data, s.app.log), (b"half an ans", ["made", "data", "lost"]))
            self.assert_truncated(await c.app.lost)

    async def test_cut_short_while_we_have_ended(self) -> None:
        c, s = await self.pair()
        s.app.transport.loseWriteConnection()
        await c.app.eof
        c.tcp.loseConnection()
        self.assert_truncated(await s.app.lost)

    async def test_tcp_may_end_behind_close_notify(self) -> None:
        """A peer may close TCP's direction too; ours goes on."""
        c, s = await self.pair()
        c.app.transport.loseWriteConnection()
        c.tcp.unregisterProducer()
        c.tcp.loseWriteConnection()
        await s.app.eof
        await turns(0.02)
        s.app.transport.write(BIG)
        s.app.transport.loseConnection()
        await c.app.eof
        self.assertEqual(c.app.data, BIG)
        c.app.transport.loseConnection()
        self.assertIsInstance(await s.app.lost, ConnectionDone)

    async def test_an_abort_is_a_reset(self) -> None:
        c, s = await self.pair()
        c.app.transport.write(b"x")
        await s.app.has(1)
        c.app.transport.abortConnection()
        c.app.transport.abortConnection()
        self.assertEqual(c.app.log, ["made"])
        self.assertIsInstance(await s.app.lost, ConnectionLost)
        self.assertIsInstance(await c.app.lost, ConnectionAborted)

    async def test_nothing_is_done_once_it_is_lost(self) -> None:
        c, s = await self.pair()
        transport = c.app.transport
        transport.abortConnection()
        await c.app.lost
        await s.app.lost
        for call in (
            transport.loseConnection,
            transport.loseWriteConnection,
            transport.abortConnection,
            transport.pauseProducing,
            transport.resumeProducing,
            transport.stopProducing,
            transport.unregisterProducer,
        ):
            call()
        transport.write(b"x")
        producer = Source(transport)
        transport.registerProducer(producer, True)
        self.assertEqual(producer.log, ["stop"])

    async def test_nothing_is_sent_behind_the_end(self) -> None:
        c, s = await self.pair()
        c.app.transport.loseWriteConnection()
        c.app.transport.write(b"x")
        c.app.transport.loseWriteConnection()
        await s.app.eof
        s.app.transport.loseConnection()
        c.app.transport.loseConnection()
        await s.app.lost
        self.assertEqual(s.app.log, ["made", "eof", "lost"])

    async def test_it_says_that_it_is_closing(self) -> None:
        """Twisted's line and HTTP protocols ask before they parse on."""
        c, _ = await self.pair()
        self.assertFalse(c.app.transport.disconnecting)
        c.app.transport.loseConnection()
        self.assertTrue(c.app.transport.disconnecting)

    async def test_a_close_waits_for_the_producer(self) -> None:
        for close in ("loseConnection", "loseWriteConnection"):
            c, s = await self.pair()
            transport = c.app.transport
            transport.registerProducer(Source(transport), True)
            getattr(transport, close)()
            transport.write(b"the rest")
            transport.unregisterProducer()
            transport.write(b"too late")
            await s.app.eof
            self.assertEqual(s.app.data, b"the rest")
            s.app.transport.loseConnection()
            transport.loseConnection()
            self.assertIsInstance(await s.app.lost, ConnectionDone)


class LingerTests(Case):
    async def test_a_peer_that_takes_nothing_is_cut(self) -> None:
        clock = Clock()
        c, s = await self.pair(clock=clock)
        s.app.transport.pauseProducing()
        c.app.transport.write(BIG * 4)
        c.app.transport.loseConnection()
        await settled(c.tcp)
        clock.advance(LINGER)  # what the kernels took meanwhile counts as progress
        await settled(c.tcp)
        self.assertEqual(c.app.log, ["made"])
        clock.advance(LINGER)
        self.assertIsInstance(await c.app.lost, ConnectionAborted)
        s.app.transport.resumeProducing()
        self.assertIsInstance(await s.app.lost, ConnectionLost)
        self.assertEqual(clock.getDelayedCalls(), [])

    async def test_a_peer_that_takes_a_little_is_not(self) -> None:
        clock = Clock()
        c, s = await self.pair(clock=clock)
        s.app.transport.pauseProducing()
        c.app.transport.write(BIG * 4)
        c.app.transport.loseConnection()
        for _ in range(4):
            await settled(c.tcp)
            clock.advance(LINGER)
            before = len(s.app.data)
            s.app.transport.resumeProducing()
            await s.app.has(before + 2**20)
            s.app.transport.pauseProducing()
        s.app.transport.resumeProducing()
        await s.app.eof
        self.assertEqual(len(s.app.data), 4 * len(BIG))
        s.app.transport.loseConnection()
        self.assertIsInstance(await c.app.lost, ConnectionDone)

    async def test_a_peer_that_took_everything_and_does_not_end_is_cut(self) -> None:
        clock = Clock()
        c, s = await self.pair(clock=clock)
        c.app.transport.loseConnection()
        await s.app.eof
        await settled(c.tcp)
        clock.pump([LINGER, LINGER])
        self.assertIsInstance(await c.app.lost, ConnectionAborted)

    async def test_a_producer_that_never_ends_is_cut(self) -> None:
        clock = Clock()
        c, _ = await self.pair(clock=clock)
        producer = Source(c.app.transport)
        c.app.transport.registerProducer(producer, True)
        c.app.transport.loseConnection()
        await settled(c.tcp)
        clock.pump([LINGER, LINGER])
        self.assertIsInstance(await c.app.lost, ConnectionAborted)
        self.assertEqual(producer.log, ["stop"])

    async def test_a_closing_connection_drops_what_comes(self) -> None:
        c, s = await self.pair()
        c.app.transport.pauseProducing()
        s.app.transport.write(BIG)
        s.app.transport.loseWriteConnection()
        await turns(0.02)
        c.app.transport.loseConnection()
        self.assertIsInstance(await c.app.lost, ConnectionDone)
        self.assertEqual(c.app.log, ["made", "lost"])

    async def test_what_came_while_paused_is_dropped_and_the_peer_s_end_among_it_seen(self) -> None:
        c, s = await self.pair(client=EndsAtOnce(), server=PausedFromTheStart())
        await turns(0.02)
        s.app.transport.resumeProducing()
        s.app.transport.loseConnection()
        self.assertIsInstance(await s.app.lost, ConnectionDone)
        self.assertEqual(s.app.log, ["made", "lost"])
        c.app.transport.loseConnection()
        await c.app.lost

    async def test_nothing_comes_behind_an_end_in_the_turn_of_a_resume(self) -> None:
        for how, end in (("loseConnection", ConnectionDone), ("abortConnection", ConnectionAborted)):
            c, s = await self.pair(client=WritesAtOnce(), server=PausedFromTheStart())
            s.app.transport.resumeProducing()
            getattr(s.app.transport, how)()
            await turns()
            c.app.transport.write(b"y")
            c.app.transport.loseConnection()
            self.assertIsInstance(await s.app.lost, end)
            self.assertEqual(s.app.log, ["made", "lost"])
            await c.app.lost

    async def test_a_peer_that_answers_our_end_by_tcp_s_alone_is_no_error(self) -> None:
        c, s = await self.pair()
        c.app.transport.loseConnection()
        await s.app.eof
        s.tcp.loseConnection()
        self.assertIsInstance(await c.app.lost, ConnectionDone)


class WritesAtOnce(Half):
    def connectionMade(self) -> None:
        super().connectionMade()
        self.transport.write(b"early")


class EndsAtOnce(WritesAtOnce):
    def connectionMade(self) -> None:
        super().connectionMade()
        self.transport.loseWriteConnection()


class PausedFromTheStart(Half):
    def connectionMade(self) -> None:
        super().connectionMade()
        self.transport.pauseProducing()


class Source:
    """A push producer that writes as fast as it may, from a turn of its own."""

    def __init__(self, consumer: IConsumer, size: int = 16384) -> None:
        self.consumer = consumer
        self.size = size
        self.log: list[str] = []
        self.written = 0
        self.going = False

    def resumeProducing(self) -> None:
        self.log.append("resume")
        self.going = True
        reactor.callLater(0, self.produce)

    def pauseProducing(self) -> None:
        if self.log[-1:] != ["pause"]:
            self.log.append("pause")
        self.going = False

    def stopProducing(self) -> None:
        self.log.append("stop")
        self.going = False

    def produce(self, at_most: int = 2**28) -> None:
        while self.going and self.written < at_most:
            self.written += self.size
            self.consumer.write(bytes(self.size))


class BackPressureTests(Case):
    async def test_a_stopped_reader_stops_the_producer(self) -> None:
        c, s = await self.pair()
        s.app.transport.pauseProducing()
        source = Source(c.app.transport)
        c.app.transport.registerProducer(source, True)
        source.resumeProducing()
        await settled(c.tcp)
        self.assertEqual(source.log[-1], "pause")
        self.assertLess(_unsent(c.tcp), 2**17)
        s.app.transport.resumeProducing()
        before = source.written
        await s.app.has(before + 2**20)
        self.assertGreater(source.log.count("resume"), 1)
        source.pauseProducing()
        self.assertLess(_unsent(c.tcp), 2**17)

    async def test_a_stopped_reader_takes_no_memory_whatever_is_sent(self) -> None:
        """The peer is a thread with a blocking socket: it holds nothing back itself."""
        s = Side(SERVER.server(), Half())
        sent = deferToThread(flood, listen(self, s.tls), 16 * len(BIG))
        await s.outcome
        await s.app.has(2**20)
        s.app.transport.pauseProducing()
        before, had = resident(), len(s.app.data)
        await turns(0.3)
        self.assertLess(resident() - before, 2**20)
        self.assertEqual(len(s.app.data), had)
        self.assertFalse(sent.called)
        s.app.transport.resumeProducing()
        await s.app.eof
        self.assertEqual(len(s.app.data), 16 * len(BIG))
        s.app.transport.loseConnection()
        await sent
        await s.app.lost

    async def test_a_producer_that_comes_when_tcp_is_full_is_paused_at_once(self) -> None:
        c, s = await self.pair()
        s.app.transport.pauseProducing()
        c.app.transport.write(BIG * 2)
        source = Source(c.app.transport)
        c.app.transport.registerProducer(source, True)
        self.assertEqual(source.log, ["pause"])
        s.app.transport.resumeProducing()
        await s.app.has(2 * len(BIG))
        self.assertEqual(source.log[:2], ["pause", "resume"])
        source.pauseProducing()

    async def test_a_producer_is_not_paused_while_tcp_takes_more(self) -> None:
        c, s = await self.pair()
        source = Source(c.app.transport)
        c.app.transport.registerProducer(source, True)
        c.app.transport.write(b"x")
        await s.app.has(1)
        self.assertEqual(source.log, [])

    async def test_there_is_one_producer(self) -> None:
        c, _ = await self.pair()
        source = Source(c.app.transport)
        c.app.transport.registerProducer(source, True)
        self.assertRaises(RuntimeError, c.app.transport.registerProducer, source, True)

    async def test_a_producer_that_is_pulled_is_asked_for_more(self) -> None:
        c, s = await self.pair()
        await FileSender().beginFileTransfer(BytesIO(BIG), c.app.transport)
        s.app.transport.pauseProducing()
        source = Source(c.app.transport)
        c.app.transport.registerProducer(source, True)  # one that is pushing, behind one that was pulled
        source.resumeProducing()
        await settled(c.tcp)
        self.assertEqual(source.log[-1], "pause")
        c.app.transport.unregisterProducer()
        c.app.transport.loseConnection()
        s.app.transport.resumeProducing()
        await s.app.eof
        self.assertEqual(s.app.data, BIG + bytes(source.written))

    async def test_a_producer_is_stopped_with_the_connection(self) -> None:
        for streaming in (True, False):
            c, s = await self.pair()
            source = Source(c.app.transport)
            c.app.transport.registerProducer(source, streaming)
            source.going = False
            s.app.transport.abortConnection()
            await c.app.lost
            self.assertEqual(source.log.count("stop"), 1)
            source.going = False

    async def test_a_paused_reader_hears_nothing_not_even_the_end(self) -> None:
        c, s = await self.pair()
        s.app.transport.pauseProducing()
        c.app.transport.write(b"x")
        c.app.transport.loseWriteConnection()
        await turns(0.05)
        self.assertEqual(s.app.log, ["made"])
        s.app.transport.resumeProducing()
        await s.app.eof
        self.assertEqual((s.app.data, s.app.log), (b"x", ["made", "data", "eof"]))

    async def test_a_reader_that_pauses_in_a_call_hears_the_end_when_it_resumes(self) -> None:
        class Once(Half):
            def received(self, data: bytes) -> None:
                self.transport.pauseProducing()

        c, s = await self.pair(server=Once())
        c.app.transport.write(b"x")
        c.app.transport.loseWriteConnection()
        await s.app.has(1)
        await turns(0.05)
        self.assertEqual(s.app.log, ["made", "data"])
        s.app.transport.resumeProducing()
        self.assertEqual(s.app.log, ["made", "data"], "delivered from within resumeProducing")
        await s.app.eof

    async def test_a_reader_paused_from_the_start_gets_what_came_behind_the_handshake(self) -> None:
        c, s = await self.pair(client=WritesAtOnce(), server=PausedFromTheStart())
        await turns(0.05)
        self.assertEqual(s.app.log, ["made"])
        transport = s.app.transport
        transport.resumeProducing()
        transport.pauseProducing()
        await turns(0.02)
        self.assertEqual(s.app.log, ["made"])
        transport.resumeProducing()
        transport.resumeProducing()
        await s.app.has(5)
        c.app.transport.write(b" and late")
        self.assertEqual(await s.app.has(14), b"early and late")

    async def test_whoever_asks_for_answers_and_does_not_read_them_is_cut(self) -> None:
        """Key updates: each may ask for one in return."""
        c, s = await self.pair()
        s.app.transport.pauseProducing()
        records = c.tls._records
        records.drain = lambda: bytes(2**12)
        c.app.transport.write(BIG * 2)
        for _ in range(UNASKED // 2**12):
            c.tls.dataReceived(b"")
        self.assertEqual(c.app.log, ["made"])
        c.tls.dataReceived(b"")
        error = await c.app.lost
        assert isinstance(error, TlsError)
        self.assertEqual(error.reason, TlsFailure.OTHER)

    async def test_answers_that_are_read_are_no_matter(self) -> None:
        c, _ = await self.pair()
        c.tls._records.drain = lambda: bytes(2**12)
        for _ in range(2 * UNASKED // 2**12):
            c.tls.dataReceived(b"")
            await turns()
        self.assertIn("made", c.app.log)


class CallsTests(Case):
    """What a protocol does inside a call, and what it does wrong."""

    async def test_closing_from_within_a_call(self) -> None:
        for how, end in (("loseConnection", ConnectionDone), ("abortConnection", ConnectionAborted)):

            class Closer(Half):
                def received(self, data: bytes, how: str = how) -> None:
                    getattr(self.transport, how)()

            c, s = await self.pair(server=Closer())
            c.app.transport.write(b"x")
            c.app.transport.loseConnection()
            self.assertIsInstance(await s.app.lost, end)
            await c.app.lost

    async def test_a_protocol_that_raises_is_logged_and_its_connection_aborted(self) -> None:
        class InData(Half):
            def received(self, data: bytes) -> None:
                self.transport.write(b"half an ans")
                self._inside = False
                raise ZeroDivisionError

        class InEof(Half):
            def readConnectionLost(self) -> None:
                raise ZeroDivisionError

        class InLost(Half):
            def connectionLost(self, reason: object) -> None:
                super().connectionLost(reason)
                raise ZeroDivisionError

        for app in (InData(), InEof(), InLost()):
            c, s = await self.pair(server=app)
            c.app.transport.write(b"x")
            c.app.transport.loseWriteConnection()
            await s.app.has(1)
            if isinstance(app, InLost):
                s.app.transport.abortConnection()
            else:
                self.assertIsInstance(await s.app.lost, ZeroDivisionError)
            self.assertIsInstance(await c.app.lost, ConnectionLost)
            await s.closed
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_a_protocol_that_raises_at_the_start(self) -> None:
        class Broken(Half):
            def connectionMade(self) -> None:
                raise ZeroDivisionError

        c, s = await self.pair(server=Broken())
        self.assertIsInstance(await s.app.lost, ZeroDivisionError)
        self.assertIsInstance(await c.app.lost, ConnectionLost)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_a_forged_record_is_told_to_both_and_loses_nothing_before_it(self) -> None:
        c, s = await self.pair()
        c.app.transport.write(b"good")
        c.tcp.write(b"\x17\x03\x03\x00\x20" + bytes(32))
        error, told = await s.app.lost, await c.app.lost
        assert isinstance(error, TlsError)
        assert isinstance(told, TlsError)
        self.assertEqual(
            (error.reason, told.reason, told.detail, s.app.data),
            (TlsFailure.OTHER, TlsFailure.REJECTED, "tls alert bad record mac", b"good"),
        )

    async def test_a_failure_ends_tcp_behind_what_waits_to_be_sent(self) -> None:
        c, s = await self.pair()
        s.app.transport.pauseProducing()
        c.app.transport.write(BIG * 2)
        await settled(c.tcp)
        below = Half()
        below.makeConnection(s.tcp)
        s.tcp.protocol = below
        self.addCleanup(s.tcp.loseConnection)
        c.tls.dataReceived(b"\x17\x03\x03\x00\x20" + bytes(32))
        self.assertIsInstance(await c.app.lost, TlsError)
        s.tcp.resumeProducing()
        await below.eof
        self.assertGreater(len(below.data), 2 * len(BIG))
        s.closed.callback(None)

    async def test_a_broken_record_layer_is_told_in_a_turn_of_its_own(self) -> None:
        def broken(*_arguments: object) -> bytes:
            raise TlsError(TlsFailure.OTHER, "out of order")

        for method, use in (
            ("seal", lambda transport: transport.write(b"x")),
            ("close_notify", lambda transport: transport.loseWriteConnection()),
        ):
            c, s = await self.pair()
            setattr(c.tls._records, method, broken)
            use(c.app.transport)
            c.app.transport.write(b"y")
            self.assertEqual(c.app.log, ["made"])
            self.assertEqual(str(await c.app.lost), "tls_error: out of order")
            self.assert_truncated(await s.app.lost)

    async def test_it_is_what_twisted_s_own_transport_is(self) -> None:
        c, s = await self.pair()
        transport = c.app.transport
        for interface in (ITCPTransport, IConsumer, IPushProducer, ISystemHandle):
            verifyObject(interface, transport)
        self.assertEqual(transport.getPeer(), s.app.transport.getHost())
        self.assertIs(transport.getHandle(), c.tcp.getHandle())
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)
        self.assertEqual((transport.getTcpNoDelay(), transport.getTcpKeepAlive()), (True, True))


def flood(port: int, size: int) -> None:
    """Send that many bytes, end, and wait for the other end."""
    like = CLIENT.client(VOTING)
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.settimeout(None)
        connection = SSL.Connection(like.get_context(), sock)
        connection.set_app_data(peer_check(like))
        connection.set_connect_state()
        for _ in range(size // 2**16):
            connection.sendall(bytes(2**16))
        connection.shutdown()
        with contextlib.suppress(SSL.ZeroReturnError):
            connection.recv(1)


def resident() -> int:
    """Bytes of memory that this process has in use."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def _unsent(tcp) -> int:
    """Bytes that our side of the connection holds, outside the kernel."""
    return len(tcp.dataBuffer) - tcp.offset + tcp._tempDataLen


async def settled(tcp) -> None:
    """Wait until nothing moves any more: kernel and peer hold what they can."""
    before = None
    while (now := tcp.getHandle().getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 128)[120:128]) != before:
        before = now
        await turns(0.05)
