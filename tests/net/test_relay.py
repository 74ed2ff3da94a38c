"""The relay between real sockets."""

from __future__ import annotations

import gc
import hashlib
import os
import socket
import weakref
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, TestCase

from meshtx.net.dial import Dialler
from meshtx.net.listen import listen
from meshtx.net.relay import RelayEnd, RelayResult, join
from meshtx.net.sockets import SocketOptions
from meshtx.wire.address import Address

OPTIONS = SocketOptions()
MIB = 1024 * 1024


def lost_early(reason: Failure) -> None:
    raise AssertionError(f"an end was lost before it was joined: {reason}")


class Relay:
    """A running relay and the two plain sockets at its ends."""

    def __init__(self, near: RelayEnd, far: RelayEnd, client: socket.socket, server: socket.socket) -> None:
        self.near, self.far, self.client, self.server = near, far, client, server
        self.ended: Deferred[RelayResult] = Deferred()

    def join(self, prefix: bytes = b"") -> None:
        join(self.near, self.far, self.ended.callback, prefix)

    def held(self) -> int:
        """Return the bytes that wait in both directions."""
        return sum(
            len(end.transport.dataBuffer) - end.transport.offset + end.transport._tempDataLen
            for end in (self.near, self.far)
        )


def until_the_end(sock: socket.socket) -> tuple[bytes, str]:
    """Read all; return it, and how it ended."""
    got = []
    try:
        while data := sock.recv(MIB):
            got.append(data)
    except ConnectionError:
        return b"".join(got), "reset"
    return b"".join(got), "eof"


def say(sock: socket.socket, data: bytes) -> None:
    """Send all of it, then EOF."""
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()


class RelayTests(TestCase):
    """`client` speaks to the near end, `server` to the far one."""

    timeout = 20

    async def relay(
        self,
        near_data: Callable[[bytes], None] | None = None,
        far_data: Callable[[bytes], None] | None = None,
        buffers: int | None = None,
        options: SocketOptions = OPTIONS,
    ) -> Relay:
        """Connect two ends; they are not joined yet.

        :param buffers: bytes for the kernel's buffers of the outer sockets.
        """
        near, far = RelayEnd(near_data, lost_early), RelayEnd(far_data, lost_early)
        accepted: Deferred[None] = Deferred()
        near.connectionMade = self.after(near.connectionMade, accepted)  # type: ignore[method-assign]
        port = listen(reactor, Address.parse("127.0.0.1:0"), Factory.forProtocol(lambda: near), OPTIONS)
        self.addCleanup(port.stopListening)
        listener = socket.socket()
        self.addCleanup(listener.close)
        client = socket.socket()
        for sock in (listener, client):
            if buffers is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client.settimeout(10)
        self.addCleanup(client.close)
        await deferToThread(client.connect, ("127.0.0.1", port.getHost().port))
        await accepted
        await Dialler(reactor, options, 5.0).dial(Address.of(*listener.getsockname()), far)
        server, _ = listener.accept()
        server.settimeout(10)
        self.addCleanup(server.close)
        return Relay(near, far, client, server)

    @staticmethod
    def after(act: Callable[[], None], done: Deferred[None]) -> Callable[[], None]:
        def acting() -> None:
            act()
            done.callback(None)

        return acting

    async def joined(self, **kwargs: Any) -> Relay:
        relay = await self.relay(**kwargs)
        relay.join()
        return relay

    async def both(self, *blocking: Callable[[], Any]) -> list[Any]:
        """Run what blocks, at once, in threads."""
        return await gatherResults([deferToThread(act) for act in blocking], consumeErrors=True)

    async def test_a_question_and_its_answer_pass_and_both_sides_end_in_order(self) -> None:
        relay = await self.joined()
        await deferToThread(relay.client.sendall, b"question")
        self.assertEqual(await deferToThread(relay.server.recv, 100), b"question")
        await deferToThread(say, relay.server, b"an answer")
        self.assertEqual(await deferToThread(until_the_end, relay.client), (b"an answer", "eof"))
        relay.client.shutdown(socket.SHUT_WR)
        self.assertEqual(await deferToThread(until_the_end, relay.server), (b"", "eof"))
        self.assertEqual(await relay.ended, RelayResult(8, 9, None))

    async def test_a_half_closed_exchange_gets_its_whole_answer(self) -> None:
        relay = await self.joined()
        answer = os.urandom(8 * MIB)

        def serve() -> bytes:
            question, _ = until_the_end(relay.server)
            say(relay.server, answer)
            return question

        def call() -> tuple[bytes, str]:
            say(relay.client, b"question")
            return until_the_end(relay.client)

        question, (got, ending) = await self.both(serve, call)
        self.assertEqual((question, ending), (b"question", "eof"))
        self.assertTrue(got == answer)
        self.assertEqual(await relay.ended, RelayResult(8, len(answer), None))

    async def test_what_the_server_says_after_the_client_has_finished_is_whole_though_it_comes_late(self) -> None:
        relay = await self.joined()
        await deferToThread(say, relay.client, b"question")
        await deferToThread(until_the_end, relay.server)
        for word in (b"one ", b"two ", b"three"):
            await deferLater(reactor, 0.01, relay.server.sendall, word)
        relay.server.close()
        self.assertEqual(await deferToThread(until_the_end, relay.client), (b"one two three", "eof"))
        self.assertIsNone((await relay.ended).error)

    async def test_much_both_ways_at_once_keeps_its_sum(self) -> None:
        relay = await self.joined()
        there, back = os.urandom(12 * MIB), os.urandom(12 * MIB)
        _, _, (at_server, _), (at_client, _) = await self.both(
            lambda: say(relay.client, there),
            lambda: say(relay.server, back),
            lambda: until_the_end(relay.server),
            lambda: until_the_end(relay.client),
        )
        self.assertEqual(
            [hashlib.sha256(data).digest() for data in (at_server, at_client)],
            [hashlib.sha256(data).digest() for data in (there, back)],
        )
        self.assertEqual(await relay.ended, RelayResult(len(there), len(back), None))

    async def stalled(self, sender: str, reader: str) -> None:
        """Offer 64 MiB to a reader that has stopped; see what is taken."""
        relay = await self.joined(buffers=64 * 1024)
        for end in (relay.near, relay.far):
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                end.transport.getHandle().setsockopt(socket.SOL_SOCKET, option, 64 * 1024)
        sending, reading = getattr(relay, sender), getattr(relay, reader)
        sending.settimeout(0.2)
        taken = await deferToThread(self.offer, sending, 64 * MIB)
        self.assertLess(relay.held(), 256 * 1024)
        self.assertLess(taken, 2 * MIB)
        sending.settimeout(10)
        _, (got, ending) = await self.both(lambda: sending.shutdown(socket.SHUT_WR), lambda: until_the_end(reading))
        self.assertEqual((len(got), ending), (taken, "eof"))  # what was taken arrives once it is read
        reading.close()
        await relay.ended

    @staticmethod
    def offer(sock: socket.socket, size: int) -> int:
        taken, chunk = 0, bytes(MIB)
        try:
            while taken < size:
                taken += sock.send(chunk)
        except TimeoutError:
            pass
        return taken

    async def test_a_server_that_stops_reading_stops_the_client(self) -> None:
        await self.stalled("client", "server")

    async def test_a_client_that_stops_reading_stops_the_server(self) -> None:
        await self.stalled("server", "client")

    async def test_a_reset_by_the_client_resets_the_server(self) -> None:
        relay = await self.joined()
        reset(relay.client)
        self.assertEqual(await deferToThread(until_the_end, relay.server), (b"", "reset"))
        self.assertIsInstance((await relay.ended).error, ConnectionLost)

    async def test_a_reset_by_the_server_in_mid_answer_resets_the_client(self) -> None:
        relay = await self.joined()
        await deferToThread(relay.server.sendall, b"half")
        self.assertEqual(await deferToThread(relay.client.recv, 100), b"half")
        reset(relay.server)
        self.assertEqual(await deferToThread(until_the_end, relay.client), (b"", "reset"))
        result = await relay.ended
        self.assertEqual((result.sent, result.received, type(result.error)), (0, 4, ConnectionLost))

    async def test_a_reset_by_the_server_after_the_clients_eof_is_no_answer(self) -> None:
        relay = await self.joined()
        await deferToThread(say, relay.client, b"question")
        await deferToThread(until_the_end, relay.server)
        reset(relay.server)
        self.assertEqual(await deferToThread(until_the_end, relay.client), (b"", "reset"))
        self.assertIsInstance((await relay.ended).error, ConnectionLost)

    async def test_a_client_that_vanishes_while_the_server_stalls_is_noticed_when_it_reads_again(self) -> None:
        relay = await self.joined()
        relay.client.settimeout(0.2)
        taken = await deferToThread(self.offer, relay.client, 64 * MIB)
        reset(relay.client)
        got, ending = await deferToThread(until_the_end, relay.server)
        self.assertEqual(ending, "reset")
        self.assertLess(len(got), taken)
        await relay.ended

    async def test_a_server_that_vanishes_while_it_stalls_ends_the_client(self) -> None:
        relay = await self.joined()
        relay.client.settimeout(0.2)
        await deferToThread(self.offer, relay.client, 64 * MIB)
        reset(relay.server)
        relay.client.settimeout(10)
        self.assertEqual(await deferToThread(until_the_end, relay.client), (b"", "reset"))
        self.assertIsInstance((await relay.ended).error, ConnectionLost)

    async def test_a_server_that_stalls_for_too_long_is_given_up(self) -> None:
        if not hasattr(socket, "TCP_USER_TIMEOUT"):
            raise SkipTest("needs TCP_USER_TIMEOUT, which Linux has")
        relay = await self.joined(options=SocketOptions(user_timeout=0.2))
        relay.client.settimeout(0.2)
        await deferToThread(self.offer, relay.client, 64 * MIB)
        relay.client.settimeout(10)
        self.assertEqual(await deferToThread(until_the_end, relay.client), (b"", "reset"))
        self.assertIsInstance((await relay.ended).error, ConnectionLost)

    async def test_nothing_is_read_before_the_ends_are_joined_and_the_prefix_comes_first(self) -> None:
        seen: list[bytes] = []
        relay = await self.relay(near_data=seen.append)
        await deferToThread(say, relay.client, b"read later")
        await deferLater(reactor, 0.02, lambda: None)
        self.assertEqual(relay.near.received, 0)
        relay.join(b"read before, ")
        self.assertEqual(await deferToThread(until_the_end, relay.server), (b"read before, read later", "eof"))
        relay.server.close()
        self.assertEqual(await relay.ended, RelayResult(23, 0, None))
        self.assertEqual(seen, [b"read before, ", b"read later"])

    async def test_each_end_shows_its_own_bytes_to_its_observer(self) -> None:
        from_client: list[bytes] = []
        from_server: list[bytes] = []
        relay = await self.joined(near_data=from_client.append, far_data=from_server.append)
        await deferToThread(say, relay.client, b"question")
        await deferToThread(say, relay.server, b"answer")
        await relay.ended
        self.assertEqual((from_client, from_server), ([b"question"], [b"answer"]))

    async def test_an_observer_comes_before_the_join_and_leaves_when_it_likes(self) -> None:
        relay = await self.relay()
        seen: list[bytes] = []

        def observe(data: bytes) -> None:
            seen.append(data)
            relay.near.on_data = None

        relay.near.on_data = observe
        self.assertEqual(relay.near.on_data, observe)
        relay.join(b"before")
        await deferToThread(say, relay.client, b"question")
        self.assertEqual(await deferToThread(until_the_end, relay.server), (b"beforequestion", "eof"))
        self.assertEqual(seen, [b"before"])
        relay.server.close()
        await relay.ended

    async def test_an_observer_that_fails_is_logged_once_and_the_bytes_go_on(self) -> None:
        def observe(data: bytes) -> None:
            raise ZeroDivisionError

        relay = await self.joined(near_data=observe)
        for word in (b"one ", b"two"):
            await deferToThread(relay.client.sendall, word)
            self.assertEqual(await deferToThread(relay.server.recv, 100), word)
        relay.client.close()
        relay.server.close()
        await relay.ended
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_nothing_is_left_behind(self) -> None:
        relay = await self.relay()
        before = len(reactor.getDelayedCalls())
        relay.join()
        reset(relay.client)
        await deferToThread(until_the_end, relay.server)
        await relay.ended
        for end in (relay.near, relay.far):
            self.assertIsNone(end._relay)
            self.assertFalse(hasattr(end.transport, "socket"))
        self.assertEqual(len(reactor.getDelayedCalls()), before)

    async def test_a_finished_relay_needs_no_collector_to_leave_memory(self) -> None:
        gc.disable()
        self.addCleanup(gc.enable)
        gone = await self.references_of_a_finished_relay()
        await deferLater(reactor, 0.01, lambda: None)
        self.assertEqual([reference() for reference in gone], [None, None])

    async def references_of_a_finished_relay(self) -> list[weakref.ref[Any]]:
        relay = await self.joined()
        relay.far._on_lost = relay.far.connectionLost  # as a caller's callback may: it leads back to the end
        relay.client.close()
        relay.server.close()
        await relay.ended
        return [weakref.ref(relay.far), weakref.ref(relay.far.transport)]  # the near end is held by this test's port
