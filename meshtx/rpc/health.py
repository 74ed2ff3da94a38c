"""gRPC's health checking service.

https://github.com/grpc/grpc/blob/master/doc/health-checking.md. The empty name is the server as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred

from meshtx.rpc.call import Call, Handler
from meshtx.rpc.messages.health_pb2 import HealthCheckRequest, HealthCheckResponse
from meshtx.rpc.method import AnyMethod
from meshtx.rpc.methods import HEALTH_CHECK, HEALTH_WATCH
from meshtx.rpc.status import RpcError, Status

MAX_WATCHERS = 100
"""Watches at once: each keeps a connection at work."""

_SERVING = HealthCheckResponse.SERVING
_NOT_SERVING = HealthCheckResponse.NOT_SERVING
_UNKNOWN = HealthCheckResponse.SERVICE_UNKNOWN


class Health:
    """Which services can do their work."""

    def __init__(self) -> None:
        self._serving: dict[str, bool] = {"": True}
        self._waiting: list[Deferred[None]] = []
        self._watchers = 0

    def set(self, service: str, *, serving: bool) -> None:
        """State whether a service works; watchers are told if that is news."""
        if self._serving.get(service) is not serving:
            self._serving[service] = serving
            waiting, self._waiting = self._waiting, []
            for waiter in waiting:
                waiter.callback(None)

    def handlers(self) -> Mapping[AnyMethod, Handler]:
        """Return what `RpcServer` takes."""
        return {HEALTH_CHECK: self._check, HEALTH_WATCH: self._watch}

    async def _check(self, request: HealthCheckRequest, _call: Call) -> HealthCheckResponse:
        serving = self._serving.get(request.service)
        if serving is None:
            raise RpcError(Status.NOT_FOUND, f"no service {request.service!r}")
        return self._response(serving)

    async def _watch(self, request: HealthCheckRequest, call: Call) -> None:
        if self._watchers >= MAX_WATCHERS:
            raise RpcError(Status.RESOURCE_EXHAUSTED, f"{MAX_WATCHERS} watchers already")
        self._watchers += 1
        try:
            await self._report(request.service, call)
        finally:
            self._watchers -= 1

    async def _report(self, service: str, call: Call) -> None:
        told: HealthCheckResponse | None = None
        while True:
            await call.ready()
            response = self._response(self._serving.get(service))
            if response == told:
                await self._change()
            else:
                told = response
                call.send(response)

    def _change(self) -> Deferred[None]:
        waiter: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiter)
        return waiter

    @staticmethod
    def _response(serving: bool | None) -> HealthCheckResponse:
        if serving is None:
            return HealthCheckResponse(status=_UNKNOWN)
        return HealthCheckResponse(status=_SERVING if serving else _NOT_SERVING)
