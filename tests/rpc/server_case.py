"""What the tests of the server share: handlers that a test holds back, and a check that no timer is left."""

from __future__ import annotations

from typing import Any

from google.protobuf.wrappers_pb2 import BytesValue
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshtx.rpc.call import Call
from meshtx.rpc.server import RpcServer
from tests.rpc.memory import Caller
from tests.rpc.support import ECHO


class ServerCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.waiting: list[Deferred[None]] = []
        self.cancelled: list[bytes] = []
        self.calls: list[Call] = []

    async def echo(self, request: BytesValue, _call: Call) -> BytesValue:
        return request

    async def hang(self, request: BytesValue, call: Call) -> BytesValue:
        """Answer when the test lets it."""
        waiter: Deferred[None] = Deferred()
        self.waiting.append(waiter)
        self.calls.append(call)
        try:
            await waiter
        except CancelledError:
            self.cancelled.append(request.value)
            raise
        return request

    def caller(self, handler: Any = None, **options: Any) -> Caller:
        self.server = RpcServer({ECHO: handler or self.echo}, self.clock, **options)
        return Caller(self.server, self.clock)

    def tearDown(self) -> None:
        self.assertEqual([call.func for call in self.clock.getDelayedCalls()], [], "a timer is left behind")
