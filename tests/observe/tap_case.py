"""A proxy's tap port on loopback: real sockets, mutual TLS and gRPC."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from meshtx.net.contexts import Contexts
from meshtx.net.dial import Dialler
from meshtx.net.listen import listen
from meshtx.net.sockets import SocketOptions
from meshtx.observe.flow import Direction
from meshtx.observe.flows import Flows
from meshtx.observe.metrics import Metrics
from meshtx.observe.tap import TapHub
from meshtx.observe.tap_client import TapClient
from meshtx.observe.tap_rpc import TapService
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.credentials import Credentials
from meshtx.pki.name import Name
from meshtx.rpc.call import Handler
from meshtx.rpc.messages.tap_pb2 import TapEvent
from meshtx.rpc.method import AnyMethod
from meshtx.rpc.server import RpcServer
from meshtx.rpc.tls_listener import TlsListener
from meshtx.wire.address import Address
from tests.net.certificates import make_ca, make_leaf
from tests.observe.cases import CLIENT, EMOJI, MTLS, SERVER, WEB, LineDetector

LOOPBACK = Address.parse("127.0.0.1:0")
EMPTY = TapEvent()


class Received:
    """Events, and who waits for them."""

    def __init__(self) -> None:
        self.events: list[TapEvent] = []
        self._waiting: list[tuple[int, Deferred[None]]] = []

    def take(self, event: TapEvent) -> None:
        self.events.append(event)
        for entry in [entry for entry in self._waiting if len(self.events) >= entry[0]]:
            self._waiting.remove(entry)
            entry[1].callback(None)

    def until(self, count: int) -> Deferred[None]:
        waiter: Deferred[None] = Deferred()
        self._waiting.append((count, waiter))
        if len(self.events) >= count:
            self._waiting.pop()
            waiter.callback(None)
        return waiter


class TapCase(TestCase):
    """The proxy of WEB; EMOJI may tap it."""

    timeout = 10

    def setUp(self) -> None:
        self.ca = make_ca()
        self.metrics = Metrics()
        self.hub = TapHub(reactor, self.metrics)
        self.flows = Flows(reactor, self.metrics, self.hub, [LineDetector()])
        self.address = self.serve(make_leaf(self.ca, WEB), {EMOJI})

    def serve(self, credentials: Credentials, allowed: Collection[Name], trust: TrustBundle | None = None) -> Address:
        """Listen as a proxy does; return where."""
        contexts = Contexts(credentials, trust or self.ca.trust)
        return self.listen(TapService(self.hub, allowed).handlers(), contexts, require_peer=True)

    def listen(self, handlers: Mapping[AnyMethod, Handler], contexts: Contexts, *, require_peer: bool) -> Address:
        """Serve gRPC over TLS until the test ends."""
        server = RpcServer(handlers, reactor)
        factory = TlsListener(server, lambda: contexts, reactor, require_peer=require_peer, failed=lambda _: None)
        port = listen(reactor, LOOPBACK, factory, SocketOptions())
        self.addCleanup(server.stop, 0.1)
        self.addCleanup(port.stopListening)
        return Address.of("127.0.0.1", port.getHost().port)

    def client(self, credentials: Credentials | None = None) -> TapClient:
        credentials = credentials or make_leaf(self.ca, EMOJI)
        dialler = Dialler(reactor, SocketOptions(), 2.0)
        return TapClient(reactor, dialler, Contexts(credentials, self.ca.trust))

    def exchange(self, path: str = "/api/list", status: int = 200) -> None:
        """One request and its answer, seen by the proxy."""
        handle = self.flows.open(Direction.IN, CLIENT, SERVER)
        handle.secured(MTLS)
        handle.client_data(b"?" + path.encode())
        handle.server_data(b"!%d" % status)
        handle.ended(10, 4)
