"""The established connection with a peer that takes little, or nothing."""

from __future__ import annotations

from io import BytesIO

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.protocols.basic import FileSender
from twisted.trial.unittest import SkipTest

from meshtx.net.failures import TlsError, TlsFailure
from meshtx.net.tls import LINGER
from meshtx.net.tls_transport import UNASKED
from tests.net.tls_pair import (
    BIG,
    SERVER,
    Case,
    EndsAtOnce,
    PausedFromTheStart,
    Source,
    WritesAtOnce,
    flood,
    resident,
    settled,
    unsent,
)
from tests.net.tls_wire import Half, Side, listen, turns


class LingerTests(Case):
    async def test_a_peer_that_takes_nothing_is_cut(self) -> None:
        clock = Clock()
        c, s = await self.pair(clock=clock)
        s.app.transport.pauseProducing()
        c.app.transport.write(BIG * 4)
        c.app.transport.loseConnection()
        await settled(c.tcp)
        clock.advance(LINGER)
        self.assertEqual(c.app.log, ["made"])  # what the kernels took meanwhile counts as progress
        while c.app.log == ["made"]:  # they may take more, but not without end
            await settled(c.tcp)
            clock.advance(LINGER)
            await turns()
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


class BackPressureTests(Case):
    async def test_a_stopped_reader_stops_the_producer(self) -> None:
        c, s = await self.pair()
        s.app.transport.pauseProducing()
        source = Source(c.app.transport)
        c.app.transport.registerProducer(source, True)
        source.resumeProducing()
        await settled(c.tcp)
        self.assertEqual(source.log[-1], "pause")
        self.assertLess(unsent(c.tcp), 2**17)
        s.app.transport.resumeProducing()
        before = source.written
        await s.app.has(before + 2**20)
        self.assertGreater(source.log.count("resume"), 1)
        source.pauseProducing()
        self.assertLess(unsent(c.tcp), 2**17)

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
        if c.on_socket:
            raise SkipTest("OpenSSL sends the answers itself: see the record layers' own tests")
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
