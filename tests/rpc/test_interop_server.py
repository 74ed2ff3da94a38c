"""grpcio's client, as it is, against our server."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.wrappers_pb2 import BytesValue
from twisted.internet.defer import CancelledError, Deferred, succeed

from meshtx.rpc.call import Call
from meshtx.rpc.status import RpcError, Status
from tests.rpc.support import ECHO, REPEAT, Listening, message, streaming, unary


async def echo(request: BytesValue, _call: Call) -> BytesValue:
    return request


def outcome(call: Any) -> tuple[grpc.StatusCode, str]:
    """Run a call that fails."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code(), error.details()  # type: ignore[attr-defined]
    raise AssertionError("the call succeeded")


class Unary(Listening):
    async def test_an_answer(self) -> None:
        self.serve({ECHO: echo})
        answer = await self.grpcio(lambda channel: unary(channel, ECHO)(message(b"hello"), timeout=10))
        self.assertEqual(answer, message(b"hello"))

    async def test_a_message_of_megabytes_both_ways(self) -> None:
        self.serve({ECHO: echo})
        big = message(b"x" * (4 * 2**20 - 100))
        self.assertEqual(await self.grpcio(lambda channel: unary(channel, ECHO)(big, timeout=20)), big)

    async def test_many_calls_at_once_on_one_connection(self) -> None:
        self.serve({ECHO: echo}, max_streams=10)

        def work(channel: grpc.Channel) -> list[int]:
            call = unary(channel, ECHO)
            futures = [call.future(message(b"x" * n), timeout=20) for n in range(300)]
            return [len(future.result().value) for future in futures]

        self.assertEqual(await self.grpcio(work), list(range(300)))

    async def test_an_error_with_its_status_and_text(self) -> None:
        async def refuse(_request: BytesValue, _call: Call) -> BytesValue:
            raise RpcError(Status.FAILED_PRECONDITION, "100% wrong: naïve\n")

        self.serve({ECHO: refuse})
        got = await self.grpcio(lambda channel: outcome(lambda: unary(channel, ECHO)(message(), timeout=10)))
        self.assertEqual(got, (grpc.StatusCode.FAILED_PRECONDITION, "100% wrong: naïve\n"))

    async def test_a_defect_of_a_handler_is_logged_and_not_told(self) -> None:
        async def broken(_request: BytesValue, _call: Call) -> BytesValue:
            raise KeyError("a secret")

        self.serve({ECHO: broken})
        got = await self.grpcio(lambda channel: outcome(lambda: unary(channel, ECHO)(message(), timeout=10)))
        self.assertEqual(got, (grpc.StatusCode.INTERNAL, "internal error"))
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    async def test_an_unknown_method(self) -> None:
        self.serve({ECHO: echo})
        got = await self.grpcio(lambda channel: outcome(lambda: unary(channel, REPEAT)(message(), timeout=10)))
        self.assertEqual(got, (grpc.StatusCode.UNIMPLEMENTED, "unknown method /test.Echo/Repeat"))

    async def test_a_message_past_the_bound_is_refused_before_it_has_come(self) -> None:
        server = self.serve({ECHO: echo}, max_message=65_536)
        big = message(b"x" * 10_000_000)
        got = await self.grpcio(lambda channel: outcome(lambda: unary(channel, ECHO)(big, timeout=10)))
        self.assertEqual(got, (grpc.StatusCode.RESOURCE_EXHAUSTED, "message of 10000005 bytes, at most 65536"))
        self.assertEqual(server.budget.left, 64 * 65_536)

    async def test_compression_is_not_offered(self) -> None:
        self.serve({ECHO: echo})

        def work(channel: grpc.Channel) -> Any:
            return outcome(
                lambda: unary(channel, ECHO)(message(b"x" * 999), timeout=10, compression=grpc.Compression.Gzip)
            )

        code, _ = await self.grpcio(work)
        self.assertEqual(code, grpc.StatusCode.UNIMPLEMENTED)

    async def test_a_deadline_cancels_the_handler_and_reaches_the_client(self) -> None:
        cancelled: Deferred[None] = Deferred()
        never: Deferred[None] = Deferred()

        async def wait(_request: BytesValue, _call: Call) -> BytesValue:
            try:
                await never
            except CancelledError:
                cancelled.callback(None)
                raise
            raise AssertionError

        self.serve({ECHO: wait})
        code, _ = await self.grpcio(lambda channel: outcome(lambda: unary(channel, ECHO)(message(), timeout=0.2)))
        self.assertEqual(code, grpc.StatusCode.DEADLINE_EXCEEDED)
        await cancelled

    async def test_a_cancelled_call_cancels_its_handler(self) -> None:
        started: Deferred[None] = Deferred()
        cancelled: Deferred[None] = Deferred()

        async def wait(_request: BytesValue, _call: Call) -> BytesValue:
            started.callback(None)
            try:
                await Deferred()
            except CancelledError:
                cancelled.callback(None)
                raise
            raise AssertionError

        self.serve({ECHO: wait})

        def work(channel: grpc.Channel) -> grpc.StatusCode:
            future = unary(channel, ECHO).future(message())
            from twisted.internet import reactor
            from twisted.internet.threads import blockingCallFromThread

            blockingCallFromThread(reactor, lambda: started)
            future.cancel()
            blockingCallFromThread(reactor, lambda: cancelled)
            return future.code()

        self.assertEqual(await self.grpcio(work), grpc.StatusCode.CANCELLED)


class Streaming(Listening):
    async def test_messages_in_order_and_a_status(self) -> None:
        async def repeat(request: BytesValue, call: Call) -> None:
            for n in range(1000):
                await call.ready()
                call.send(message(b"%d" % n))

        self.serve({REPEAT: repeat})
        answer = await self.grpcio(lambda channel: [m.value for m in streaming(channel, REPEAT)(message(), timeout=20)])
        self.assertEqual(answer, [b"%d" % n for n in range(1000)])

    async def test_an_error_behind_messages(self) -> None:
        async def repeat(request: BytesValue, call: Call) -> None:
            call.send(message(b"one"))
            raise RpcError(Status.ABORTED, "enough")

        self.serve({REPEAT: repeat})

        def work(channel: grpc.Channel) -> Any:
            got: list[bytes] = []
            ended = outcome(lambda: got.extend(m.value for m in streaming(channel, REPEAT)(message(), timeout=10)))
            return got, ended

        self.assertEqual(await self.grpcio(work), ([b"one"], (grpc.StatusCode.ABORTED, "enough")))

    async def test_a_client_that_does_not_read_holds_the_handler_back(self) -> None:
        sent = 0
        full: Deferred[None] = Deferred()

        async def repeat(request: BytesValue, call: Call) -> None:
            nonlocal sent
            while sent < 10_000:
                waiter = call.ready()
                if not waiter.called and not full.called:
                    full.callback(None)
                await waiter
                call.send(message(b"x" * 10_000))
                sent += 1

        self.serve({REPEAT: repeat})

        def work(channel: grpc.Channel) -> int:
            from twisted.internet import reactor
            from twisted.internet.threads import blockingCallFromThread

            stream = streaming(channel, REPEAT)(message(), timeout=60)
            next(stream)
            blockingCallFromThread(reactor, lambda: full)
            held_back = sent
            rest = sum(1 for _ in stream)
            self.assertEqual(rest, 9_999)
            return held_back

        self.assertLess(await self.grpcio(work), 9_000)
        self.assertEqual(sent, 10_000)
        await succeed(None)
