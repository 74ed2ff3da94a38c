"""Our client against grpcio's server, as it is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import grpc
from google.protobuf.wrappers_pb2 import BytesValue
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.threads import deferToThread

from meshtx.rpc.status import RpcError, Status
from tests.rpc.support import ECHO, REPEAT, Listening, message

FEW = {"grpc.max_concurrent_streams": 3}
"""It refuses calls within its bound too: one that it has answered counts until it has freed it, which takes
milliseconds where the machine is busy (``grpc.http.overload_protection``, on by default)."""


def echo(request: BytesValue, _context: grpc.ServicerContext) -> BytesValue:
    return request


class Unary(Listening):
    async def refused(self, call: Deferred[Any]) -> tuple[Status, str]:
        error = await self.assertFailure(call, RpcError)
        return error.status, error.message

    async def test_an_answer(self) -> None:
        self.grpcio_server({ECHO: echo})
        client = await self.client()
        self.assertEqual(await client.call(ECHO, message(b"hello"), 10), message(b"hello"))

    async def test_a_message_of_megabytes_both_ways(self) -> None:
        self.grpcio_server({ECHO: echo})
        client = await self.client()
        big = message(b"x" * (4 * 2**20 - 100))
        self.assertEqual(await client.call(ECHO, big, 20), big)

    async def test_more_calls_than_the_server_takes_at_once(self) -> None:
        self.grpcio_server({ECHO: echo}, **FEW)
        client = await self.client()
        answers = await gatherResults([client.call(ECHO, message(b"%d" % n), 20) for n in range(300)])
        self.assertEqual(answers, [message(b"%d" % n) for n in range(300)])

    async def test_an_error_with_its_status_and_text(self) -> None:
        def refuse(_request: BytesValue, context: grpc.ServicerContext) -> BytesValue:
            context.abort(grpc.StatusCode.NOT_FOUND, "100% lost: naïve\n")
            raise AssertionError

        self.grpcio_server({ECHO: refuse})
        client = await self.client()
        got = await self.refused(client.call(ECHO, message(), 10))
        self.assertEqual(got, (Status.NOT_FOUND, "100% lost: naïve\n"))

    async def test_an_unknown_method_is_a_head_without_messages(self) -> None:
        self.grpcio_server({ECHO: echo})
        client = await self.client()
        status, _ = await self.refused(client.call(REPEAT, message(), 10))
        self.assertEqual(status, Status.UNIMPLEMENTED)
        self.assertEqual(await client.call(ECHO, message(b"next"), 10), message(b"next"))

    async def test_a_message_past_our_bound(self) -> None:
        self.grpcio_server({ECHO: lambda _request, _context: message(b"x" * 100_000)})
        client = await self.client(max_message=10_000)
        got = await self.refused(client.call(ECHO, message(), 10))
        self.assertEqual(got, (Status.RESOURCE_EXHAUSTED, "message of 100004 bytes, at most 10000"))

    async def test_the_server_is_told_the_deadline(self) -> None:
        left: list[float | None] = []

        def wait(_request: BytesValue, context: grpc.ServicerContext) -> BytesValue:
            left.append(context.time_remaining())
            gone = threading.Event()
            context.add_callback(gone.set)
            gone.wait(10)
            return message()

        self.grpcio_server({ECHO: wait})
        client = await self.client()
        status, _ = await self.refused(client.call(ECHO, message(), 0.5))
        self.assertEqual(status, Status.DEADLINE_EXCEEDED)
        self.assertTrue(left[0] and 0 < left[0] <= 0.5, left)

    async def test_cancelling_reaches_the_server(self) -> None:
        started = threading.Event()
        gone = threading.Event()

        def wait(_request: BytesValue, context: grpc.ServicerContext) -> BytesValue:
            context.add_callback(gone.set)
            started.set()
            gone.wait(10)
            return message()

        self.grpcio_server({ECHO: wait})
        client = await self.client()
        call = client.call(ECHO, message(), 10)
        await deferToThread(started.wait, 10)
        call.cancel()
        await self.assertFailure(call, CancelledError)
        self.assertTrue(await deferToThread(gone.wait, 10))

    async def test_a_running_call_survives_an_orderly_stop_of_the_server(self) -> None:
        started = threading.Event()
        going = threading.Event()

        def wait(request: BytesValue, _context: grpc.ServicerContext) -> BytesValue:
            started.set()
            going.wait(10)
            return request

        self.grpcio_server({ECHO: wait})
        client = await self.client()
        goaway: Deferred[None] = Deferred()
        peer_goes = client.peer_goes
        client.peer_goes = lambda *args: (peer_goes(*args), goaway.called or goaway.callback(None))  # type: ignore
        call = client.call(ECHO, message(b"last"), 10)
        await deferToThread(started.wait, 10)
        self.grpc_server.stop(10)
        await goaway
        status, _ = await self.refused(client.call(ECHO, message(), 10))
        self.assertEqual(status, Status.UNAVAILABLE)
        going.set()
        self.assertEqual(await call, message(b"last"))

    async def test_a_server_that_dies_is_unavailable_with_the_cause(self) -> None:
        started = threading.Event()

        def wait(request: BytesValue, context: grpc.ServicerContext) -> BytesValue:
            gone = threading.Event()
            context.add_callback(gone.set)
            started.set()
            gone.wait(10)
            return request

        self.grpcio_server({ECHO: wait})
        client = await self.client()
        call = client.call(ECHO, message(), 10)
        await deferToThread(started.wait, 10)
        reactor.callLater(0, client.transport.abortConnection)
        error = await self.assertFailure(call, RpcError)
        self.assertEqual(error.status, Status.UNAVAILABLE)
        self.assertIn("aborted", str(error.__cause__))


class Streaming(Listening):
    async def test_messages_in_order(self) -> None:
        def repeat(_request: BytesValue, _context: grpc.ServicerContext) -> Iterator[BytesValue]:
            yield from (message(b"%d" % n) for n in range(1000))

        self.grpcio_server({REPEAT: repeat})
        client = await self.client()
        got: list[bytes] = []
        await client.stream(REPEAT, message(), lambda m: got.append(m.value))
        self.assertEqual(got, [b"%d" % n for n in range(1000)])

    async def test_an_error_behind_messages(self) -> None:
        def repeat(_request: BytesValue, context: grpc.ServicerContext) -> Iterator[BytesValue]:
            yield message(b"one")
            context.abort(grpc.StatusCode.ABORTED, "enough")

        self.grpcio_server({REPEAT: repeat})
        client = await self.client()
        got: list[bytes] = []
        error = await self.assertFailure(client.stream(REPEAT, message(), lambda m: got.append(m.value)), RpcError)
        self.assertEqual((got, error.status, error.message), ([b"one"], Status.ABORTED, "enough"))

    async def test_a_slow_consumer_holds_the_server_back_and_no_other_call(self) -> None:
        sent = 0
        going: Deferred[None] = Deferred()

        def repeat(_request: BytesValue, _context: grpc.ServicerContext) -> Iterator[BytesValue]:
            nonlocal sent
            for _ in range(2000):
                sent += 1
                yield message(b"x" * 10_000)

        self.grpcio_server({REPEAT: repeat, ECHO: echo})
        client = await self.client()
        got = 0

        def consume(_m: BytesValue) -> Deferred[None] | None:
            nonlocal got
            got += 1
            return going if got == 1 else None

        stream = client.stream(REPEAT, message(), consume)
        for _ in range(50):
            await client.call(ECHO, message(b"x" * 20_000), 10)
        self.assertLess(sent, 500)
        self.assertEqual(got, 1)
        going.callback(None)
        await stream
        self.assertEqual((got, sent), (2000, 2000))

    async def test_what_a_consumer_raises_ends_the_call(self) -> None:
        gone = threading.Event()

        def repeat(_request: BytesValue, context: grpc.ServicerContext) -> Iterator[BytesValue]:
            context.add_callback(gone.set)
            yield message(b"one")
            gone.wait(10)

        def consume(_m: BytesValue) -> None:
            raise ZeroDivisionError

        self.grpcio_server({REPEAT: repeat})
        client = await self.client()
        await self.assertFailure(client.stream(REPEAT, message(), consume), ZeroDivisionError)
        self.assertTrue(await deferToThread(gone.wait, 10))
