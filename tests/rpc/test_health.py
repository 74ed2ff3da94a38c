from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshtx.rpc.health import MAX_WATCHERS, Health
from meshtx.rpc.messages.health_pb2 import HealthCheckRequest, HealthCheckResponse
from meshtx.rpc.methods import HEALTH_CHECK, HEALTH_WATCH
from meshtx.rpc.server import RpcServer
from meshtx.rpc.status import RpcError, Status
from tests.rpc.memory import Caller
from tests.rpc.support import Listening, streaming, unary

SERVING = HealthCheckResponse.SERVING
NOT_SERVING = HealthCheckResponse.NOT_SERVING
UNKNOWN = HealthCheckResponse.SERVICE_UNKNOWN


class HealthTests(Listening):
    async def test_check(self) -> None:
        health = Health()
        health.set("a.B", serving=False)
        self.serve(dict(health.handlers()))
        client = await self.client()
        for service, status in (("", SERVING), ("a.B", NOT_SERVING)):
            answer = await client.call(HEALTH_CHECK, HealthCheckRequest(service=service), 10)
            self.assertEqual(answer.status, status)
        error = await self.assertFailure(client.call(HEALTH_CHECK, HealthCheckRequest(service="x"), 10), RpcError)
        self.assertEqual((error.status, error.message), (Status.NOT_FOUND, "no service 'x'"))

    async def test_watch_tells_the_present_state_and_each_change(self) -> None:
        health = Health()
        self.serve(dict(health.handlers()))
        client = await self.client()
        got: list[int] = []
        come: list[Deferred[None]] = [Deferred() for _ in range(3)]

        def consume(answer: HealthCheckResponse) -> None:
            got.append(answer.status)
            come[len(got) - 1].callback(None)

        watch = client.stream(HEALTH_WATCH, HealthCheckRequest(service="a.B"), consume)
        await come[0]
        health.set("a.B", serving=True)
        await come[1]
        health.set("a.B", serving=True)
        health.set("", serving=False)
        health.set("a.B", serving=False)
        await come[2]
        self.assertEqual(got, [UNKNOWN, SERVING, NOT_SERVING])
        watch.cancel()
        await self.assertFailure(watch, CancelledError)

    async def test_grpcio_checks_and_watches(self) -> None:
        health = Health()
        self.serve(dict(health.handlers()))

        def work(channel: object) -> list[int]:
            check = unary(channel, HEALTH_CHECK)(HealthCheckRequest(), timeout=10)  # type: ignore[arg-type]
            watch = streaming(channel, HEALTH_WATCH)(HealthCheckRequest(), timeout=10)  # type: ignore[arg-type]
            first = next(watch)
            reactor.callFromThread(health.set, "", serving=False)
            second = next(watch)
            watch.cancel()
            return [check.status, first.status, second.status]

        self.assertEqual(await self.grpcio(work), [SERVING, SERVING, NOT_SERVING])


class Bounds(SynchronousTestCase):
    def test_watchers_are_bounded_and_forgotten_when_they_go(self) -> None:
        clock = Clock()
        server = RpcServer(Health().handlers(), clock)
        crowd, other = Caller(server, clock), Caller(server, clock)
        for _ in range(MAX_WATCHERS):
            crowd.call(path=HEALTH_WATCH.path)
        self.assertEqual(other.status(other.call(path=HEALTH_WATCH.path))[0], str(int(Status.RESOURCE_EXHAUSTED)))
        crowd.lose()
        self.assertEqual(other.status(other.call(path=HEALTH_WATCH.path)), (None, None))
        other.lose()
