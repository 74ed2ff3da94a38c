"""What a transport keeps to while bytes flow, whatever its kind: order, back-pressure, pauses.

Mixed into cases by `tests.net.test_transports`.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IHalfCloseableDescriptor, IPushProducer, ISystemHandle, ITCPTransport
from twisted.internet.threads import deferToThread
from zope.interface.verify import verifyObject

from tests.net.test_sockets import linger, tcp_option
from tests.net.transport_case import BIG, End, HalfCloseable, TransportCase, turns, unsent


class Push:
    """A push producer: writes as fast as it may, from a turn of its own."""

    def __init__(self, transport: Any, size: int) -> None:
        self.transport = transport
        self.left = size
        self.log: list[str] = []
        self._going = True

    def pauseProducing(self) -> None:
        self.log.append("pause")
        self._going = False

    def resumeProducing(self) -> None:
        self.log.append("resume")
        self._going = True
        reactor.callLater(0, self.produce)

    def stopProducing(self) -> None:
        self.log.append("stop")
        self._going = False

    def produce(self) -> None:
        while self._going and self.left:
            chunk = min(self.left, 16384)
            self.left -= chunk
            self.transport.write(bytes(chunk))
        if not self.left:
            self.transport.unregisterProducer()


class Pull:
    """A pull producer: writes a little each time that it is asked."""

    def __init__(self, transport: Any, chunks: list[bytes]) -> None:
        self.transport = transport
        self.chunks = chunks
        self.stopped = False
        self._inside = False

    def resumeProducing(self) -> None:
        assert not self._inside, "asked from within its own write"
        self._inside = True
        if self.chunks:
            self.transport.write(self.chunks.pop(0))
        else:
            self.transport.unregisterProducer()
        self._inside = False

    def stopProducing(self) -> None:
        self.stopped = True


class Flow(TransportCase):
    # Writing.

    async def test_writes_of_all_sizes_arrive_in_order(self) -> None:
        end = End()
        peer = await self.connect(end)
        chunks = [bytes([number]) * size for number, size in enumerate([1, 70_000, 0, 3, BIG, 1, 200_000, 5])]
        for chunk in chunks[:4]:
            end.transport.write(chunk)
        end.transport.writeSequence(chunks[4:6])
        end.transport.writeSequence(chunks[6:])
        self.assertGreater(unsent(end.transport), 0)
        end.transport.loseConnection()
        self.assertEqual(await deferToThread(peer.take), (b"".join(chunks), "eof"))

    async def test_nothing_is_written_by_nothing(self) -> None:
        end = End()
        peer = await self.connect(end)
        end.transport.write(b"")
        end.transport.writeSequence([])
        end.transport.writeSequence([b"", b""])
        end.transport.loseConnection()
        self.assertEqual(await deferToThread(peer.read_to_the_end), (0, "eof"))

    async def test_a_push_producer_is_paused_when_the_buffer_is_full_and_resumed_when_it_is_empty(self) -> None:
        end = End()
        peer = await self.connect(end)
        source = Push(end.transport, BIG)
        end.transport.registerProducer(source, True)
        source.produce()
        self.assertEqual(source.log, ["pause"])
        self.assertLess(unsent(end.transport), 2 * end.transport.bufferSize)
        end.transport.loseConnection()  # waits for the producer
        self.assertEqual(await deferToThread(peer.read_to_the_end), (BIG, "eof"))
        self.assertEqual(source.log, ["pause", "resume"] * (len(source.log) // 2))

    async def test_a_pull_producer_is_asked_until_it_has_no_more(self) -> None:
        """Each chunk is sent at once here, so that nothing is left whose sending would be told."""
        end = End()
        peer = await self.connect(end)
        source = Pull(end.transport, [b"a", b"b" * 100_000, b"c", b"d"])
        end.transport.registerProducer(source, False)
        end.transport.loseConnection()
        self.assertEqual(await deferToThread(peer.take), (b"a" + b"b" * 100_000 + b"cd", "eof"))
        await end.lost
        self.assertEqual((source.chunks, source.stopped), ([], False))

    async def test_a_pull_producer_whose_peer_is_slow(self) -> None:
        end = End()
        peer = await self.connect(end)
        source = Pull(end.transport, [bytes([number]) * (BIG // 4) for number in range(6)])
        whole = b"".join(source.chunks)
        end.transport.registerProducer(source, False)
        await turns()
        end.transport.loseConnection()
        self.assertEqual(await deferToThread(peer.take), (whole, "eof"))

    async def test_a_half_close_waits_for_a_paused_producer(self) -> None:
        """Also if that has no more to write, so that nothing waits which would be sent."""
        for more in (BIG, 0):
            end = End()
            peer = await self.connect(end)
            source = Push(end.transport, BIG)
            end.transport.registerProducer(source, True)
            source.produce()
            sent, source.left = BIG - source.left, more
            end.transport.loseWriteConnection()
            self.assertEqual(await deferToThread(peer.read_to_the_end), (sent + more, "eof"))

    async def test_a_producer_is_stopped_at_the_loss(self) -> None:
        for streaming in (True, False):
            end = End()
            peer = await self.connect(end)
            source = Push(end.transport, BIG)
            source.left = 0
            source.produce = lambda: None
            end.transport.registerProducer(source, streaming)
            peer.reset()
            self.assertIsInstance(await end.lost, ConnectionLost)
            self.assertEqual(source.log[-1], "stop")
            late = Push(end.transport, 1)
            end.transport.registerProducer(late, streaming)
            self.assertEqual(late.log, ["stop"])

    async def test_there_is_one_producer_at_a_time(self) -> None:
        end = End()
        await self.connect(end)
        end.transport.registerProducer(Push(end.transport, 1), True)
        self.assertRaises(RuntimeError, end.transport.registerProducer, Push(end.transport, 1), True)
        end.transport.unregisterProducer()
        end.transport.registerProducer(Push(end.transport, 1), True)
        end.transport.unregisterProducer()

    # Reading.

    async def test_nothing_comes_while_it_is_paused(self) -> None:
        end = End()
        peer = await self.connect(end)
        end.transport.pauseProducing()
        peer.sock.sendall(b"x")
        await self.some_turns()
        self.assertEqual(end.got, b"")
        end.transport.resumeProducing()
        await end.has(1)

    async def test_a_pause_from_within_a_call_holds(self) -> None:
        class Pausing(End):
            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                self.transport.pauseProducing()

        end = Pausing()
        peer = await self.connect(end)
        sent = deferToThread(peer.sock.sendall, bytes(BIG // 2))
        await end.has(1)
        got = len(end.got)
        await self.some_turns()
        self.assertEqual(len(end.got), got)
        while len(end.got) < BIG // 2:
            end.transport.resumeProducing()
            await end.has(len(end.got) + 1)
        await sent

    async def test_a_pause_and_a_resume_in_one_turn_lose_nothing(self) -> None:
        class Stuttering(End):
            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                self.transport.pauseProducing()
                self.transport.resumeProducing()

        end = Stuttering()
        peer = await self.connect(end)
        await deferToThread(peer.sock.sendall, bytes(BIG))
        await end.has(BIG)

    async def test_the_peers_end_waits_until_it_is_resumed_and_comes_behind_the_data(self) -> None:
        end = HalfCloseable()
        peer = await self.connect(end)
        end.transport.pauseProducing()
        peer.sock.sendall(b"last")
        peer.sock.shutdown(socket.SHUT_WR)
        await self.some_turns()
        self.assertEqual((end.got, end.eof.called), (b"", False))
        end.transport.resumeProducing()
        await end.eof
        self.assertEqual(end.got, b"last")

    async def test_the_peers_reset_waits_until_it_is_resumed(self) -> None:
        end = HalfCloseable()
        peer = await self.connect(end)
        end.transport.pauseProducing()
        peer.reset()
        await self.some_turns()
        self.assertEqual((end.lost.called, end.eof.called), (False, False))
        end.transport.resumeProducing()
        self.assertIsInstance(await end.lost, ConnectionLost)

    async def test_the_peers_reset_shows_by_a_write_while_it_is_paused(self) -> None:
        end = HalfCloseable()
        peer = await self.connect(end)
        end.transport.pauseProducing()
        peer.reset()
        end.transport.write(b"x")
        self.assertIsInstance(await end.lost, ConnectionLost)

    async def test_nothing_comes_behind_a_close(self) -> None:
        class Closing(End):
            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                self.transport.loseConnection()

        end = Closing()
        peer = await self.connect(end)
        peer.sock.sendall(b"x")
        await end.has(1)
        with contextlib.suppress(ConnectionError):
            peer.sock.sendall(b"y")
        self.assertIsInstance(await end.lost, ConnectionDone)
        self.assertEqual(end.got, b"x")

    async def some_turns(self) -> None:
        """Let the reactor look several times at what loopback has delivered at once."""
        for _ in range(5):
            await turns()

    # What it is.

    async def test_it_is_a_transport_of_twisteds(self) -> None:
        end = End()
        peer = await self.connect(end)
        transport = end.transport
        for interface in (ITCPTransport, IConsumer, IPushProducer, ISystemHandle, IHalfCloseableDescriptor):
            verifyObject(interface, transport)
        there, here = transport.getPeer(), transport.getHost()
        self.assertEqual(
            ((there.host, there.port), (here.host, here.port)), (peer.sock.getsockname(), peer.sock.getpeername())
        )
        self.assertEqual(transport.getHandle().fileno(), transport.fileno())

    async def test_the_socket_is_armed_and_has_our_options(self) -> None:
        end = End()
        await self.connect(end)
        sock = end.transport.getHandle()
        self.assertEqual(linger(sock), (1, 0))
        self.assertEqual(tcp_option(sock, "TCP_USER_TIMEOUT"), 30_000)
        self.assertNotEqual(tcp_option(sock, "TCP_NODELAY"), 0)
        end.transport.loseConnection()
        await end.lost
