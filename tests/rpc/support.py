"""What the tests of rpc share: echoes, our two sides over real sockets, and grpcio's two sides in threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf.wrappers_pb2 import BytesValue
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from meshtx.rpc.client import RpcClient
from meshtx.rpc.method import AnyMethod, Method
from meshtx.rpc.server import RpcServer

ECHO = Method("/test.Echo/Echo", BytesValue, BytesValue)
REPEAT = Method("/test.Echo/Repeat", BytesValue, BytesValue, streams=True)


def message(value: bytes = b"") -> BytesValue:
    return BytesValue(value=value)


class Listening(TestCase):
    """A test case whose server and clients are gone when it ends."""

    def serve(self, handlers: dict[AnyMethod, Any], clock: Any = reactor, **limits: Any) -> RpcServer:
        """Listen with our server on plain TCP; its port is `self.port`."""
        server = RpcServer(handlers, clock, **limits)
        factory = Factory.forProtocol(lambda: server.protocol(None))
        factory.noisy = False
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.port = port.getHost().port
        self.addCleanup(server.stop, 0.2)
        self.addCleanup(port.stopListening)
        return server

    async def client(self, port: int | None = None, **options: Any) -> RpcClient:
        """Connect with our client on plain TCP."""
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port or self.port)
        client = RpcClient(reactor, authority="test", secure=False, **options)
        lost: Deferred[None] = Deferred()
        ended = client.ended

        def tell(reason: Any) -> None:
            ended(reason)
            lost.callback(None)

        client.ended = tell  # type: ignore[method-assign]
        await connectProtocol(endpoint, client)

        def close() -> Deferred[None]:
            client.close()
            return lost

        self.addCleanup(close)
        return client

    def grpcio(self, work: Callable[[grpc.Channel], Any], *options: tuple[str, Any]) -> Deferred[Any]:
        """Run something with grpcio's client in a thread."""

        def run() -> Any:
            with grpc.insecure_channel(f"127.0.0.1:{self.port}", options=options) as channel:
                return work(channel)

        return deferToThread(run)

    def grpcio_server(self, handlers: dict[AnyMethod, Any], **options: Any) -> None:
        """Serve with grpcio's server in threads; its port is `self.port`.

        :param handlers: functions as grpcio takes them, of request and context.
        """
        pool = ThreadPoolExecutor(8)
        server = grpc.server(pool, options=tuple(options.items()))
        kinds = {False: grpc.unary_unary_rpc_method_handler, True: grpc.unary_stream_rpc_method_handler}
        for method, handler in handlers.items():
            _, service, name = method.path.split("/")
            made = kinds[method.streams](handler, method.request.FromString, method.response.SerializeToString)
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: made}),))
        self.port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        self.grpc_server = server
        self.addCleanup(lambda: deferToThread(lambda: (server.stop(0).wait(), pool.shutdown())))

    async def raw(self) -> Raw:
        """Connect with a protocol that keeps what it gets."""
        protocol: Raw = await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", self.port), Raw())
        self.addCleanup(protocol.close)
        return protocol


class Raw(Protocol):
    """A client that knows nothing of HTTP/2."""

    def __init__(self) -> None:
        self.data = b""
        self.lost: Deferred[None] = Deferred()
        self._wanted: list[tuple[Callable[[bytes], bool], Deferred[None]]] = []

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        for condition, waiter in list(self._wanted):
            if condition(self.data):
                self._wanted.remove((condition, waiter))
                waiter.callback(None)

    def until(self, condition: Callable[[bytes], bool]) -> Deferred[None]:
        """Wait for bytes."""
        waiter: Deferred[None] = Deferred()
        self._wanted.append((condition, waiter))
        self.dataReceived(b"")
        return waiter

    def connectionLost(self, reason: Any = None) -> None:
        self.lost.callback(None)

    def close(self) -> Deferred[None] | None:
        if self.lost.called:
            return None
        self.transport.abortConnection()
        return self.lost


def unary(channel: grpc.Channel, method: AnyMethod) -> grpc.UnaryUnaryMultiCallable[Any, Any]:
    return channel.unary_unary(method.path, method.request.SerializeToString, method.response.FromString)


def streaming(channel: grpc.Channel, method: AnyMethod) -> grpc.UnaryStreamMultiCallable[Any, Any]:
    return channel.unary_stream(method.path, method.request.SerializeToString, method.response.FromString)
