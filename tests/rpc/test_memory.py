"""What a connection leaves behind when it ends: nothing that only the collector of garbage would find."""

from __future__ import annotations

import gc
from collections import Counter

from google.protobuf.wrappers_pb2 import BytesValue
from h2.connection import H2Connection
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater

from meshtx.rpc.call import Call
from meshtx.rpc.client import RpcClient
from meshtx.rpc.client_call import ClientCall
from meshtx.rpc.server import PREFACE_TIMEOUT, RpcServer, ServerConnection
from meshtx.rpc.status import RpcError, Status
from tests.garbage import hold_collector, living, watch_garbage
from tests.rpc.support import ECHO, Listening, message

OF_A_CONNECTION = (Call, H2Connection, ServerConnection)


async def echo(request: BytesValue, _call: Call) -> BytesValue:
    return request


async def hang(_request: BytesValue, _call: Call) -> BytesValue:
    return await Deferred()


class GarbageTests(Listening):
    async def found(self, server: RpcServer) -> dict[str, int]:
        """Return what of ours the collector finds once the server has no connection any more."""
        while server.open:
            await deferLater(reactor, 0.001)  # type: ignore[arg-type]
        await deferLater(reactor, 0)  # type: ignore[arg-type]
        gc.collect()
        return Counter(type(each).__name__ for each in gc.garbage if isinstance(each, OF_A_CONNECTION))

    async def test_a_client_that_closes(self) -> None:
        server = self.serve({ECHO: echo})
        watch_garbage(self)
        raw = await self.raw()
        raw.transport.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
        await raw.until(bool)
        raw.transport.loseConnection()
        self.assertEqual(await self.found(server), {})

    async def test_a_client_that_speaks_something_else(self) -> None:
        server = self.serve({ECHO: echo})
        watch_garbage(self)
        raw = await self.raw()
        raw.transport.write(b"GET / HTTP/1.1\r\nHost: somebody\r\n\r\n")
        await raw.lost
        self.assertEqual(await self.found(server), {})

    async def test_a_client_that_says_nothing_in_time(self) -> None:
        clock = Clock()
        server = self.serve({ECHO: echo}, clock)
        watch_garbage(self)
        raw = await self.raw()
        await raw.until(bool)
        clock.advance(PREFACE_TIMEOUT)
        await raw.lost
        self.assertEqual(await self.found(server), {})

    async def test_a_call(self) -> None:
        server = self.serve({ECHO: echo})
        client = await self.client()
        watch_garbage(self)
        self.assertEqual(await client.call(ECHO, message(b"hi"), 10), message(b"hi"))
        client.close()
        self.assertEqual(await self.found(server), {})

    async def test_a_call_that_is_too_late_for_its_caller(self) -> None:
        clock = Clock()
        server = self.serve({ECHO: hang}, clock)
        client = await self.client()
        watch_garbage(self)
        answer = client.call(ECHO, message(b"hi"), 60)
        while not [call for connection in server.open for call in connection._calls.values() if call._running]:
            await deferLater(reactor, 0)  # type: ignore[arg-type]
        clock.advance(60)
        self.assertEqual((await self.assertFailure(answer, RpcError)).status, Status.DEADLINE_EXCEEDED)
        client.close()
        self.assertEqual(await self.found(server), {})

    def test_a_call_that_nobody_has_answered_in_time(self) -> None:
        clock = Clock()
        client = RpcClient(clock, authority="test")
        hold_collector(self)
        others = living(ClientCall)
        answer = client.call(ECHO, message(b"hi"), 60)
        answer.addErrback(lambda failure: failure.trap(RpcError))
        clock.advance(60)
        del answer
        self.assertEqual(living(ClientCall, others), {})
