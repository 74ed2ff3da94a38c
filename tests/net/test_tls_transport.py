"""The established connection: its ends, and what is called when."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IPushProducer, ISystemHandle, ITCPTransport
from twisted.trial.unittest import SkipTest
from zope.interface.verify import verifyObject

from meshtx.net.failures import TlsError, TlsFailure
from meshtx.net.poller import Transports
from tests.net.tls_pair import (
    BIG,
    Case,
    Source,
    settled,
)
from tests.net.tls_wire import Half, Plain, turns


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
        transport.write_soon(b"x")
        transport.write_pieces([b"x", memoryview(b"y")])
        producer = Source(transport)
        transport.registerProducer(producer, True)
        self.assertEqual(producer.log, ["stop"])

    async def test_what_is_asked_for_behind_its_loss_is_done(self) -> None:
        c, s = await self.pair()
        c.app.transport.abortConnection()
        await c.app.lost
        await s.app.lost
        done: Deferred[None] = Deferred()
        c.app.transport.behind(lambda: done.callback(None))
        await done

    async def test_nothing_is_sent_behind_the_end(self) -> None:
        c, s = await self.pair()
        c.app.transport.loseWriteConnection()
        c.app.transport.write(b"x")
        c.app.transport.write_soon(b"y")
        c.app.transport.loseWriteConnection()
        await s.app.eof
        s.app.transport.loseConnection()
        c.app.transport.loseConnection()
        self.assertIsInstance(await s.app.lost, ConnectionDone)
        self.assertIsInstance(await c.app.lost, ConnectionDone)
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


class PiecesTests(Case):
    """What is written in pieces."""

    async def test_they_go_to_tcp_as_they_are_if_it_takes_them_and_joined_if_not(self) -> None:
        c, _ = await self.pair()
        written: list[object] = []
        self.patch(c.app.transport, "write", written.append)
        rest = memoryview(b"b")
        c.app.transport.write_pieces([b"a", rest])
        if self.transports is Transports.QUICK:
            self.assertEqual(written[0], b"a")
            self.assertIs(written[1], rest)
        else:
            self.assertEqual(written, [b"ab"])

    async def test_they_arrive(self) -> None:
        c, s = await self.pair()
        c.app.transport.write_pieces([b"a" * 2**14, memoryview(b"b" * 2**20)])
        c.app.transport.loseWriteConnection()
        await s.app.eof
        self.assertEqual(s.app.data, b"a" * 2**14 + b"b" * 2**20)

    async def test_behind_an_end_they_are_ignored(self) -> None:
        c, s = await self.pair()
        c.app.transport.loseWriteConnection()
        c.app.transport.write_pieces([b"a", memoryview(b"b")])
        await s.app.eof
        self.assertEqual(s.app.data, b"")
        s.app.transport.write(b"answer")
        s.app.transport.loseConnection()
        await c.app.eof
        self.assertEqual(c.app.data, b"answer")


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
        c.raw(b"\x17\x03\x03\x00\x20" + bytes(32))
        error, told = await s.app.lost, await c.app.lost
        assert isinstance(error, TlsError)
        assert isinstance(told, TlsError)
        self.assertEqual(
            (error.reason, told.reason, told.detail, s.app.data),
            (TlsFailure.OTHER, TlsFailure.REJECTED, "tls alert bad record mac", b"good"),
        )

    async def test_a_failure_ends_tcp_behind_what_waits_to_be_sent(self) -> None:
        c, s = await self.pair()
        if c.on_socket:
            raise SkipTest("what waits there is not sealed yet, and no record can follow")
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
            if c.on_socket and method == "seal":
                c.app.transport.abortConnection()  # TCP seals what it sends, and is lost if it cannot
                continue
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
