"""What a transport keeps to at its end, whatever its kind: what the peer sees, and what the protocol hears.

Mixed into cases by `tests.net.test_transports`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from meshtx.net import transports
from tests.net.transport_case import BIG, End, HalfCloseable, TransportCase, turns, unsent


class Ends(TransportCase):
    async def ending(self, act: Callable[[Any], object], end: End | None = None) -> tuple[int, str]:
        """Let an act end the connection; return what the peer saw."""
        end = end or End()
        peer = await self.connect(end)
        act(end)
        seen = await deferToThread(peer.read_to_the_end)
        await end.lost
        return seen

    # Ours.

    async def test_a_close_that_was_asked_for_sends_everything_and_ends_in_order(self) -> None:
        def act(end: End) -> None:
            end.transport.write(b"x" * BIG)
            self.assertGreater(unsent(end.transport), 0)
            end.transport.loseConnection()

        self.assertEqual(await self.ending(act), (BIG, "eof"))

    async def test_a_close_with_nothing_to_send(self) -> None:
        self.assertEqual(await self.ending(lambda end: end.transport.loseConnection()), (0, "eof"))

    async def test_what_is_written_while_it_closes_is_sent(self) -> None:
        """As Twisted has it."""

        for size in (8, BIG):

            def act(end: End, size: int = size) -> None:
                end.transport.loseConnection()
                end.transport.write(bytes(size))

            self.assertEqual(await self.ending(act), (size, "eof"))

    async def test_an_abort_is_a_reset(self) -> None:
        self.assertEqual(await self.ending(lambda end: end.transport.abortConnection()), (0, "reset"))

    async def test_an_abort_drops_what_waits(self) -> None:
        end = End()
        peer = await self.connect(end)
        end.transport.write(b"x" * BIG)
        end.transport.abortConnection()
        self.assertIsInstance(await end.lost, ConnectionAborted)
        size, ending = await deferToThread(peer.read_to_the_end)
        self.assertEqual(ending, "reset")
        self.assertLess(size, BIG)

    async def test_nothing_is_sent_behind_an_abort(self) -> None:
        end = End()
        peer = await self.connect(end)
        end.transport.abortConnection()
        end.transport.write(b"x")
        end.transport.writeSequence([b"y"])
        peer.sock.setblocking(False)
        with self.assertRaises(BlockingIOError):
            peer.sock.recv(1)
        self.assertIsInstance(await end.lost, ConnectionAborted)

    async def test_an_abort_stays_one_whatever_is_asked_for_behind_it(self) -> None:
        end = HalfCloseable()
        peer = await self.connect(end)
        end.transport.loseWriteConnection()
        self.assertEqual(await deferToThread(peer.read_to_the_end), (0, "eof"))
        end.transport.abortConnection()
        end.transport.loseConnection()
        await end.lost
        with self.assertRaises(BrokenPipeError):
            peer.sock.send(b"x")

    async def test_an_exception_in_a_protocol_is_a_reset(self) -> None:
        class Broken(End):
            def dataReceived(self, data: bytes) -> None:
                raise ZeroDivisionError

        end = Broken()
        peer = await self.connect(end)
        peer.sock.sendall(b"x")
        self.assertEqual(await deferToThread(peer.read_to_the_end), (0, "reset"))
        self.assertIsInstance(await end.lost, ZeroDivisionError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_an_exception_at_a_half_close_is_a_reset(self) -> None:
        class Broken(HalfCloseable):
            def readConnectionLost(self) -> None:
                raise ZeroDivisionError

        end = Broken()
        peer = await self.connect(end)
        peer.sock.shutdown(socket.SHUT_WR)
        self.assertEqual(await deferToThread(peer.read_to_the_end), (0, "reset"))
        self.assertIsInstance(await end.lost, ZeroDivisionError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_an_exception_at_the_end_is_logged(self) -> None:
        class Broken(End):
            def connectionLost(self, reason: Failure) -> None:
                super().connectionLost(reason)
                raise ZeroDivisionError

        end = Broken()
        peer = await self.connect(end)
        peer.sock.close()
        await end.lost
        await turns()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_the_end_of_the_reactor_is_a_reset(self) -> None:
        def act(end: End) -> None:
            end.transport.connectionLost(Failure(ConnectionLost()))

        self.assertEqual(await self.ending(act), (0, "reset"))

    async def test_an_end_in_order_with_bytes_unsent_is_a_reset(self) -> None:
        def act(end: End) -> None:
            end.transport.write(b"x" * BIG)
            self.assertGreater(unsent(end.transport), 0)
            end.transport.connectionLost(Failure(ConnectionDone()))

        self.assertEqual((await self.ending(act))[1], "reset")

    async def test_a_close_that_nobody_takes_ends_in_a_reset(self) -> None:
        self.patch(transports, "LINGER", 0.05)
        end = End()
        peer = await self.connect(end)
        end.transport.write(b"x" * BIG)
        end.transport.loseConnection()
        self.assertIsInstance(await end.lost, ConnectionAborted)
        self.assertIsNone(end.transport._lingering, "it leads back to the transport")
        size, ending = await deferToThread(peer.read_to_the_end)
        self.assertEqual(ending, "reset")
        self.assertLess(size, BIG)

    # Half of it.

    async def test_our_half_close_leaves_the_other_direction_open(self) -> None:
        end = HalfCloseable()
        peer = await self.connect(end)
        end.transport.write(b"question")
        end.transport.loseWriteConnection()
        self.assertEqual(await deferToThread(peer.read_to_the_end), (8, "eof"))
        end.transport.write(b"ignored")
        peer.sock.sendall(b"answer")
        peer.sock.shutdown(socket.SHUT_WR)
        await end.eof
        self.assertEqual(end.got, b"answer")
        end.transport.loseConnection()
        self.assertIsInstance(await end.lost, ConnectionDone)

    async def test_our_half_close_comes_behind_what_waits(self) -> None:
        end = HalfCloseable()
        peer = await self.connect(end)
        end.transport.write(b"x" * BIG)
        end.transport.loseWriteConnection()
        self.assertEqual(await deferToThread(peer.read_to_the_end), (BIG, "eof"))

    async def test_a_half_closed_connection_is_still_armed(self) -> None:
        end = HalfCloseable()
        peer = await self.connect(end)
        end.transport.loseWriteConnection()
        self.assertEqual(await deferToThread(peer.read_to_the_end), (0, "eof"))
        end.transport.abortConnection()
        await end.lost
        with self.assertRaises(BrokenPipeError):  # what a reset behind a FIN is to its receiver, at once
            peer.sock.send(b"x")

    async def test_after_the_peers_eof_the_answer_goes_out_whole(self) -> None:
        end = HalfCloseable()
        peer = await self.connect(end)
        peer.sock.sendall(b"question")
        peer.sock.shutdown(socket.SHUT_WR)
        await end.eof
        end.transport.write(b"x" * BIG)
        end.transport.loseConnection()
        self.assertEqual((await deferToThread(peer.read_to_the_end), end.got), ((BIG, "eof"), b"question"))
        self.assertIsInstance(await end.lost, ConnectionDone)

    # The peer's.

    async def test_a_protocol_that_knows_no_half_close_ends_in_order_with_its_peer(self) -> None:
        end = End()
        peer = await self.connect(end)
        peer.sock.shutdown(socket.SHUT_WR)
        self.assertEqual(await deferToThread(peer.read_to_the_end), (0, "eof"))
        self.assertIsInstance(await end.lost, ConnectionDone)

    async def test_the_peers_reset_is_no_end_in_order(self) -> None:
        end = HalfCloseable()
        peer = await self.connect(end)
        peer.reset()
        self.assertIsInstance(await end.lost, ConnectionLost)
        self.assertFalse(end.eof.called)

    async def test_a_reset_that_meets_a_write_is_no_end_in_order(self) -> None:
        for kind in HalfCloseable, End:
            end = kind()
            peer = await self.connect(end)
            peer.reset()
            end.transport.write(b"x")  # in the turn in which the reset came, and before it is read
            self.assertIsInstance(await end.lost, ConnectionLost)
            self.assertFalse(isinstance(end, HalfCloseable) and end.eof.called)

    async def test_a_reset_that_the_reactor_takes_for_an_end_is_none(self) -> None:
        for kind in HalfCloseable, End:
            end = kind()
            peer = await self.connect(end)
            peer.reset()
            end.transport.readConnectionLost(Failure(ConnectionDone()))  # as at a hang-up without anything to read
            self.assertIsInstance(await end.lost, ConnectionLost)
            self.assertFalse(isinstance(end, HalfCloseable) and end.eof.called)

    async def test_an_end_with_a_reset_behind_it_is_both(self) -> None:
        end = HalfCloseable()
        peer = await self.connect(end)
        peer.sock.shutdown(socket.SHUT_WR)
        peer.reset()
        self.assertIsInstance(await end.lost, ConnectionLost)
        self.assertTrue(end.eof.called)

    async def test_a_reset_behind_the_peers_eof_is_told_though_nothing_is_written(self) -> None:
        self.patch(transports, "LOOKS", 0.001)
        end = HalfCloseable()
        peer = await self.connect(end)
        peer.sock.shutdown(socket.SHUT_WR)
        await end.eof
        await turns(0.01)
        self.assertFalse(end.lost.called)
        peer.reset()
        self.assertIsInstance(await end.lost, ConnectionLost)
        self.assertIsNone(end.transport._looking, "it leads back to the transport")

    async def test_the_peers_reset_while_bytes_wait(self) -> None:
        end = HalfCloseable()
        peer = await self.connect(end)
        end.transport.write(b"x" * BIG)
        peer.reset()
        self.assertIsInstance(await end.lost, ConnectionLost)

    async def test_nothing_is_done_once_it_is_lost(self) -> None:
        end = End()
        peer = await self.connect(end)
        transport = end.transport
        peer.sock.close()
        await end.lost
        transport.write(b"x")
        transport.writeSequence([b"x", b"y"])
        transport.loseConnection()
        transport.abortConnection()
        transport.resumeProducing()
        transport.pauseProducing()
        await turns()
