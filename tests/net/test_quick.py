"""What quick transports have beside the contract of all: a look at what comes first, and something left for last."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from meshtx.net.quick import SIZE
from tests.net.transport_case import BIG, Accepted, HalfCloseable, Peer, TransportCase, turns, unsent


class Looking(HalfCloseable):
    """Looks first, and keeps what it has seen."""

    def __init__(self, judge: Callable[[Looking], bool]) -> None:
        super().__init__()
        self.seen: list[bytes] = []
        self._judge = judge

    def connectionMade(self) -> None:
        self.transport.look(self.judge)
        super().connectionMade()

    def judge(self, data: bytes) -> bool:
        self.seen.append(data)
        return self._judge(self)


class Pausing(HalfCloseable):
    """Wants nothing at first."""

    def connectionMade(self) -> None:
        self.transport.pauseProducing()
        super().connectionMade()


class BeginningTests(Accepted, TransportCase):
    async def test_who_pauses_at_first_gets_nothing_until_it_goes_on(self) -> None:
        end = Pausing()
        peer = await self.connect(end)
        peer.sock.sendall(b"hello")
        for _ in range(10):
            await turns()
        self.assertEqual(end.got, b"")
        end.transport.resumeProducing()
        await end.has(5)
        peer.sock.sendall(b"more")
        await end.has(9)
        self.assertEqual(end.got, b"hellomore")


class LookTests(Accepted, TransportCase):
    async def test_what_is_left_is_there_for_the_next(self) -> None:
        def leave(end: Looking) -> bool:
            end.transport.pauseProducing()
            return True

        end = Looking(leave)
        peer = await self.connect(end)
        peer.sock.sendall(b"hello")
        while not end.seen:
            await turns()
        kernel = end.transport.getHandle().recv(10, socket.MSG_PEEK)
        self.assertEqual((end.seen, end.got, kernel), ([b"hello"], b"", b"hello"))
        end.transport.resumeProducing()
        await end.has(5)
        self.assertEqual((end.seen, end.got), ([b"hello"], b"hello"))

    async def test_what_is_not_left_is_read_at_once(self) -> None:
        got: list[bytes] = []

        class Telling(Looking):
            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                got.append(data)

        end = Telling(lambda end: bool(got))
        peer = await self.connect(end)
        peer.sock.sendall(b"hello")
        await end.has(5)
        peer.sock.sendall(b"more")
        await end.has(9)
        self.assertEqual((end.seen, got), ([b"hello"], [b"hello", b"more"]))

    async def test_an_end_is_shown_to_nobody(self) -> None:
        end = Looking(lambda _: True)
        peer = await self.connect(end)
        peer.sock.shutdown(socket.SHUT_WR)
        await end.eof
        self.assertEqual(end.seen, [])

    async def test_a_reset_while_it_looks_is_a_loss(self) -> None:
        end = Looking(lambda _: True)
        peer = await self.connect(end)
        peer.reset()
        self.assertIsInstance(await end.lost, ConnectionLost)
        self.assertEqual((end.seen, end.eof.called), ([], False))

    async def test_an_abort_while_it_looks(self) -> None:
        end = Looking(lambda _: True)
        peer = await self.connect(end)
        end.transport.abortConnection()
        peer.sock.sendall(b"hello")
        self.assertIsInstance(await end.lost, ConnectionAborted)
        self.assertEqual(end.seen, [])

    async def test_a_judge_that_fails_is_logged_and_the_connection_reset(self) -> None:
        def fail(_: Looking) -> bool:
            raise ZeroDivisionError

        end = Looking(fail)
        peer = await self.connect(end)
        peer.sock.sendall(b"hello")
        self.assertIsInstance(await end.lost, ZeroDivisionError)
        self.assertEqual(await deferToThread(peer.read_to_the_end), (0, "reset"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_nothing_leads_from_a_lost_transport_to_its_protocol(self) -> None:
        end = Looking(lambda _: True)
        await self.connect(end)
        transport = end.transport
        transport.abortConnection()
        await end.lost
        await turns()
        self.assertEqual({"doRead", "protocol", "socket"} & set(vars(transport)), set())


class Last:
    """Is left for last: succeeds at the third attempt, by a mark in the stream."""

    def __init__(self, transport: Any) -> None:
        self.transport = transport
        self.attempts: list[int] = []

    def __call__(self) -> bool:
        self.attempts.append(unsent(self.transport))
        if len(self.attempts) < 3:
            return False
        self.transport.getHandle().send(b"!")
        return True


class LastTests(Accepted, TransportCase):
    async def leaving(self, size: int) -> tuple[HalfCloseable, Peer, Last]:
        """Write, and leave something for last."""
        end = HalfCloseable()
        peer = await self.connect(end)
        end.transport.write(b"x" * size)
        self.assertEqual(end.transport.all_sent, size < BIG)
        last = Last(end.transport)
        end.transport.when_writable(last)
        return end, peer, last

    async def test_it_is_done_behind_what_waits(self) -> None:
        for size in (1, BIG):
            end, peer, last = await self.leaving(size)
            data = await deferToThread(peer.take_exactly, size + 1)
            self.assertEqual((data.strip(b"x"), last.attempts, end.lost.called), (b"!", [0, 0, 0], False))

    async def test_an_end_in_order_comes_behind_it(self) -> None:
        for size in (1, BIG):
            end, peer, last = await self.leaving(size)
            end.transport.loseConnection()
            data, ending = await deferToThread(peer.take)
            self.assertEqual((len(data), data[-1:], ending), (size + 1, b"!", "eof"))
            self.assertIsInstance(await end.lost, ConnectionDone)
            self.assertEqual(last.attempts, [0, 0, 0])

    async def test_a_half_close_comes_behind_it(self) -> None:
        for size in (1, BIG):
            end, peer, last = await self.leaving(size)
            end.transport.loseWriteConnection()
            data, ending = await deferToThread(peer.take)
            self.assertEqual((len(data), data[-1:], ending), (size + 1, b"!", "eof"))
            peer.sock.sendall(b"answer")
            await end.has(6)
            self.assertEqual(last.attempts, [0, 0, 0])

    async def test_without_it_an_end_is_a_reset(self) -> None:
        end, peer, _ = await self.leaving(1)
        end.transport.connectionLost(Failure(ConnectionDone()))
        self.assertEqual((await deferToThread(peer.read_to_the_end))[1], "reset")


class Full:
    """A socket that always has more to read."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def recv_into(self, buffer: bytearray) -> int:
        self.calls.append("into")
        return len(buffer)

    def recv(self, size: int) -> bytes:
        self.calls.append("new")
        return bytes(size if len(self.calls) < 3 else 1)


class BulkTests(Accepted, TransportCase):
    async def test_behind_a_full_read_the_next_is_read_to_where_it_stays(self) -> None:
        end = HalfCloseable()
        await self.connect(end)
        kernel, end.transport.socket = end.transport.socket, Full()
        for _ in range(4):
            end.transport.doRead()
        full, end.transport.socket = end.transport.socket, kernel
        self.assertEqual(full.calls, ["into", "new", "new", "into"])
        self.assertEqual(len(end.got), 3 * SIZE + 1)


FAULTS = """
import resource
from meshtx.net.quick import SIZE

def faults(turns):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(turns):
        read = bytes(SIZE)
        framed = b"head" + read
        del read, framed
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults(10)
print(faults(100))
"""


class RoomTests(SynchronousTestCase):
    def test_the_room_of_a_full_read_is_kept_for_the_next_one(self) -> None:
        if platform.libc_ver()[0] != "glibc":
            raise SkipTest("about glibc's malloc")
        usual = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
        done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, env=usual, check=True)
        self.assertLess(int(done.stdout), 100, "as many as 88 a turn where glibc gives it back to the kernel each time")


class SoonTests(Accepted, TransportCase):
    """What is sent with what comes next."""

    async def test_it_goes_out_with_the_next_write_in_order(self) -> None:
        end = HalfCloseable()
        peer = await self.connect(end)
        peer.sock.setblocking(False)
        end.transport.write_soon(b"a")
        end.transport.write_soon(b"b")
        with self.assertRaises(BlockingIOError):
            peer.sock.recv(10)
        end.transport.write(b"c")
        peer.sock.settimeout(10)
        self.assertEqual(await deferToThread(peer.take_exactly, 3), b"abc")

    async def test_it_goes_out_without_one_in_a_later_turn(self) -> None:
        end = HalfCloseable()
        peer = await self.connect(end)
        end.transport.write_soon(b"a")
        self.assertEqual(await deferToThread(peer.take_exactly, 1), b"a")

    async def test_an_end_comes_behind_it(self) -> None:
        for lose in ("loseConnection", "loseWriteConnection"):
            end = HalfCloseable()
            peer = await self.connect(end)
            end.transport.write_soon(b"a")
            getattr(end.transport, lose)()
            self.assertEqual(await deferToThread(peer.take), (b"a", "eof"))

    async def test_an_end_without_it_is_a_reset(self) -> None:
        end = HalfCloseable()
        peer = await self.connect(end)
        end.transport.write_soon(b"a")
        end.transport.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(await deferToThread(peer.take), (b"", "reset"))

    async def test_nothing_of_it_is_sent_behind_an_abort(self) -> None:
        end = HalfCloseable()
        peer = await self.connect(end)
        end.transport.write_soon(b"a")
        end.transport.abortConnection()
        self.assertEqual(await deferToThread(peer.take), (b"", "reset"))


class Unstoppable:
    """A producer that fails when it is stopped."""

    def pauseProducing(self) -> None: ...

    def resumeProducing(self) -> None: ...

    def stopProducing(self) -> None:
        raise ValueError


class ProducerTests(Accepted, TransportCase):
    async def test_one_that_fails_at_the_end_leaves_no_socket_that_the_kernel_tells_of(self) -> None:
        end = HalfCloseable()
        peer = await self.connect(end)
        end.transport.registerProducer(Unstoppable(), True)
        kernel = end.transport.getHandle()
        self.addCleanup(kernel.close)
        self.patch(end, "dataReceived", lambda _: end.transport.loseConnection())
        peer.sock.sendall(b"xx")
        while not (failed := self.flushLoggedErrors(ValueError)):
            await turns()
        self.assertEqual((len(failed), kernel.fileno(), end.lost.called), (1, -1, True))
