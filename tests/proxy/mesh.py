"""A mesh in one process: two hosts with a proxy each, applications, and the wire between them, all over loopback.

    client ─▶ CLIENT's outbound ─▶ wire ─▶ SERVER's inbound ─▶ application

Every host is an address of the loopback network, every port one that the system chose; the wire keeps what crosses
it. Nothing waits for time to pass: tests wait for what an application or a tap has seen.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import ip_address
from random import Random
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.logger import formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from meshtx.directory.backends import Backends
from meshtx.directory.ranges import Ranges
from meshtx.directory.target import Meshed, PortFacts, Target
from meshtx.interfaces import IDirectory
from meshtx.net.dial import Dialler
from meshtx.net.listen import listen
from meshtx.net.relay import RelayEnd, join
from meshtx.net.sockets import SocketOptions
from meshtx.observe import tap
from meshtx.observe.detectors import load_detectors
from meshtx.observe.flow import FlowEnd, NoTls, NoTlsReason
from meshtx.observe.flows import Flows
from meshtx.observe.metrics import Metrics
from meshtx.observe.tap import FlowOpened, FlowRefused, Lost, TapClosed, TapEvent, TapHub
from meshtx.observe.tap_match import TapMatch
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.credentials import Credentials
from meshtx.pki.name import Name
from meshtx.proxy.early import MAX_EARLY_DIALS, EarlyDials
from meshtx.proxy.ends import Live
from meshtx.proxy.goal import Goal
from meshtx.proxy.inbound import Inbound
from meshtx.proxy.limits import Limits
from meshtx.proxy.mesh_tls import MeshTls
from meshtx.proxy.outbound import Outbound
from meshtx.proxy.parts import Parts, Patience
from meshtx.proxy.peer import Peers
from meshtx.proxy.policy import Mode, Policy
from meshtx.proxy.served_legs import ServedLegs
from meshtx.proxy.workload import Workload
from meshtx.wire.address import Address
from tests.net.certificates import VOTING, WEB, make_ca, make_leaf
from tests.proxy.talkers import Application, Echo, Talker

reactor: Any = installed
OPTIONS = SocketOptions()
EVERYBODY = Policy(Mode.ALL_UNAUTHENTICATED)
PATIENCE = Patience(settle=3600)
"""No spare legs: a test that wants some says so."""
ITSELF = 0
"""The port of what is addressed to a proxy itself, which a test does not know beforehand."""
CLIENT, SERVER = ip_address("127.31.0.1"), ip_address("127.31.0.2")
CA = make_ca()
WEB_LEAF, VOTING_LEAF = make_leaf(CA, WEB), make_leaf(CA, VOTING)


class Source:
    """Credentials as a test sets them."""

    def __init__(self, credentials: Credentials | None, trust: TrustBundle) -> None:
        self.credentials, self.trust = credentials, trust
        self._subscribers: list[Callable[[], None]] = []

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        self._subscribers.append(changed)
        return lambda: self._subscribers.remove(changed)

    def replace(self, credentials: Credentials | None) -> None:
        self.credentials = credentials
        for changed in self._subscribers:
            changed()

    def ready_reason(self) -> str | None:
        return None if self.credentials else "no certificate yet: nobody has answered"

    def first(self) -> Deferred[Credentials]:
        raise NotImplementedError


class InOrder(Random):
    """Takes the first ones."""

    def random(self) -> float:
        return 0.0


@implementer(IDirectory)
class Facts:
    """A directory as a test sets it."""

    ready = True
    ranges = Ranges()

    def __init__(self) -> None:
        self.targets: dict[Address, Target] = {}
        self.services: dict[Address, tuple[Target, ...]] = {}
        self.backends = Backends(lambda: 0.0, InOrder())
        self.ports: dict[int, PortFacts] = {}
        self.error: Exception | None = None
        self.silent = False
        self.asked: Deferred[Deferred[Target]] = Deferred()
        """Fires after the first question that it is silent to, with the answer that is waited for."""

    def find(self, destination: Address) -> Deferred[Target]:
        answer: Deferred[Target] = Deferred()
        if self.silent:
            reactor.callLater(0, self.asked.callback, answer)
            return answer
        if self.error is not None:
            return fail(self.error)
        if destination in self.services:
            return maybeDeferred(self.backends.pick, self.services[destination])
        plain = Target(destination, "", NoTls(NoTlsReason.NOT_DISCOVERED))
        return succeed(self.targets.get(destination, plain))

    def own_port(self, address: Address) -> PortFacts:
        return self.ports.get(address.port, PortFacts())

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        return lambda: None


class Taps:
    """Everything that one proxy's tap shows."""

    def __init__(self, hub: TapHub) -> None:
        self.events: list[TapEvent] = []
        self._waiting: list[tuple[Callable[[TapEvent], bool], Deferred[TapEvent]]] = []
        self.subscription = hub.subscribe(TapMatch())
        self._read()

    def _read(self) -> None:
        self.subscription.next().addCallbacks(self._take, lambda failure: failure.trap(TapClosed))

    def _take(self, event: TapEvent | Lost) -> None:
        assert isinstance(event, TapEvent), event
        self.events.append(event)
        for entry in [each for each in self._waiting if each[0](event)]:
            self._waiting.remove(entry)
            entry[1].callback(event)
        self._read()

    def saw(self, match: Callable[[TapEvent], bool]) -> Deferred[TapEvent]:
        for event in self.events:
            if match(event):
                return succeed(event)
        deferred: Deferred[TapEvent] = Deferred()
        self._waiting.append((match, deferred))
        return deferred


class Host:
    """One host: its proxy is put together as the service does it.

    :param direction: what its log lines begin with.
    """

    def __init__(
        self,
        case: MeshCase,
        ip: Any,
        credentials: Credentials | None,
        trust: TrustBundle = CA.trust,
        *,
        policy: Policy = EVERYBODY,
        patience: Patience = PATIENCE,
        clock: Any = reactor,
        early_dials: int = MAX_EARLY_DIALS,
    ) -> None:
        self.case, self.ip = case, ip
        self.metrics, self.live, self.directory = Metrics(), Live(), Facts()
        hub = TapHub(reactor, self.metrics)
        case.patch(tap, "GATHER", 0.0)  # else what is shown would be late by as much
        self.taps = Taps(hub)
        self.source = Source(credentials, trust)
        self.own_ports: set[int] = set()
        dialler, tls = Dialler(reactor, OPTIONS, 2.0), MeshTls(self.source)
        self.parts = Parts(
            clock=clock,
            live=self.live,
            flows=Flows(reactor, self.metrics, hub, load_detectors(["http/1.1", "h2"])),
            directory=self.directory,
            dialler=dialler,
            tls=tls,
            peers=Peers(clock, dialler, tls, self.metrics, handshake=patience.handshake, settle=patience.settle),
            served=ServedLegs(clock, tls, self.metrics),
            policy=policy,
            own_ports=self.own_ports,
            limits=Limits(reactor, self.metrics),
            early=EarlyDials(self.metrics, early_dials),
            patience=patience,
        )
        case.hosts.append(self)
        case.addCleanup(hub.close)

    def inbound(self, port: int | None = None, forwards: dict[int, Address] | None = None) -> Address:
        """Listen for peers, or with `port` for what is addressed to that port of the workload."""
        workload = Workload(self.parts.dialler, forwards or {})
        goal = Goal(ip_address(self.ip), port or ITSELF, direct=port is None)
        address = self.case.listen(self.ip, Inbound(self.parts, workload, lambda _: goal))
        if port is None:
            self.own_ports.add(address.port)
        return address

    def outbound(self, destination: Address | Exception) -> Address:
        """Listen for what the workload sends to a destination."""

        def tell(_transport: object) -> Address:
            if isinstance(destination, Exception):
                raise destination
            return destination

        return self.case.listen(self.ip, Outbound(self.parts, tell))

    def meshed(self, destination: Address, name: Name, via: Address, *, opaque: bool = False) -> None:
        """Put a meshed workload into this host's directory."""
        self.directory.targets[destination] = Target(destination, "voting.test:80", Meshed(name, via), opaque)

    async def refusal(self) -> tuple[str, str]:
        """Wait until this proxy refuses a connection; return its reason and detail as the tap shows them."""
        event = await self.taps.saw(lambda event: isinstance(event.what, FlowRefused))
        assert isinstance(event.what, FlowRefused)
        return event.what.reason, event.what.detail

    def count(self, name: str, **labels: str) -> float:
        """Return a sample, the sum of all that have these labels; 0 if there is none."""
        return sum(
            sample.value
            for metric in self.metrics.registry.collect()
            for sample in metric.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def refused(self) -> dict[tuple[str, str], float]:
        """Return the counts of refusals by direction and reason."""
        return {
            (sample.labels["direction"], sample.labels["reason"]): sample.value
            for metric in self.metrics.registry.collect()
            for sample in metric.samples
            if sample.name == "tcp_refused_total"
        }

    async def opened(self) -> Any:
        """Wait until the tap shows a connection as opened; return its security."""
        return (await self.taps.saw(lambda event: isinstance(event.what, FlowOpened))).flow.security

    async def ended(self) -> FlowEnd:
        """Wait until the tap shows the end of a connection; return it."""
        event = await self.taps.saw(lambda event: isinstance(event.what, FlowEnd))
        assert isinstance(event.what, FlowEnd)
        return event.what


class MeshCase(TestCase):
    """Makes hosts, applications and wires, and leaves nothing of them behind."""

    timeout = 10

    def setUp(self) -> None:
        self.hosts: list[Host] = []
        self.ports: dict[Address, Any] = {}
        self.lines: list[str] = []
        self.wire = bytearray()
        self.wires: list[RelayEnd] = []
        self.transports: list[Any] = []
        globalLogPublisher.addObserver(self._line)
        self.addCleanup(globalLogPublisher.removeObserver, self._line)
        self.addCleanup(self.settle)

    def _line(self, event: Any) -> None:
        if str(event.get("log_namespace", "")).startswith("meshtx."):
            self.lines.append(formatEvent(event))

    async def settle(self) -> None:
        """End what the test left open; then nothing may be left that is counted or open."""
        for transport in self.transports:
            transport.abortConnection()
        for host in self.hosts:
            await host.live.empty()
        legs = Live()
        for host in self.hosts:
            host.parts.peers.stop(legs)
            host.parts.served.stop(legs)
        await legs.empty()
        await self.unconnected()
        self.assertEqual([host.count("tcp_open_connections") for host in self.hosts], [0] * len(self.hosts))

    async def unconnected(self) -> None:
        """Wait until there is no connection any more."""
        while [each for each in reactor.getReaders() if hasattr(each, "protocol")]:
            await deferLater(reactor, 0.001)

    def listen(self, ip: Any, factory: Any) -> Address:
        port = listen(reactor, Address(ip, 0), factory, OPTIONS)
        self.addCleanup(port.stopListening)
        address = Address(ip, port.getHost().port)
        self.ports[address] = port
        return address

    def application(self, make: Callable[[], Talker] = Echo, ip: Any = SERVER) -> Application:
        """Listen as a workload does."""
        factory = Factory()
        factory.noisy = False

        def build(_address: object) -> Talker:
            talker = make()
            application.connections.append(talker)
            talker.made.addCallback(lambda _: self._accepted(application, talker))
            return talker

        factory.buildProtocol = build  # type: ignore[method-assign,assignment]
        application = Application(self.listen(ip, factory))
        return application

    def _accepted(self, application: Application, talker: Talker) -> None:
        self.transports.append(talker.transport)
        waiting, application.waiting = application.waiting, []
        for deferred in waiting:
            deferred.callback(talker)

    async def connect(self, address: Address, talker: Talker | None = None) -> Talker:
        """Connect as a workload's client does."""
        talker = talker or Talker()
        await self.dial(address, talker)
        return talker

    async def dial(self, address: Address, protocol: IProtocol) -> None:
        await Dialler(reactor, OPTIONS, 2.0).dial(address, protocol)
        self.transports.append(protocol.transport)  # type: ignore[attr-defined]

    def between(self, address: Address) -> Address:
        """Return an address that leads to another over a wire that keeps what crosses it, in `wire`."""
        case = self

        class Near(RelayEnd):
            def connectionMade(self) -> None:
                super().connectionMade()
                case.wires.append(self)
                case.transports.append(self.transport)
                far = RelayEnd(case.wire.extend, _ignore)
                join(self, far, lambda _: None)
                dialled = Dialler(reactor, OPTIONS, 2.0).dial(address, far)
                dialled.addErrback(lambda _: self.transport.abortConnection())

        factory = Factory()
        factory.noisy = False
        factory.buildProtocol = lambda _: Near(case.wire.extend, _ignore)  # type: ignore[method-assign]
        return self.listen(address.ip, factory)

    def cut(self, *, orderly: bool = False) -> None:
        """Break the wires off, or end them as TCP does when a process ends."""
        for near in self.wires:
            relay = near._relay
            assert relay is not None
            for end in (near, relay._far):
                if orderly:
                    end.close()
                else:
                    end.cut()

    def pair(self, application: Application, client: Host, server: Host, name: Name = VOTING) -> Address:
        """Put an application into the mesh; return where the client's workload connects."""
        client.meshed(application.address, name, self.between(server.inbound()))
        return client.outbound(application.address)

    def nobody(self) -> Address:
        """Return an address at which nobody listens."""
        sock = socket.socket()
        sock.bind((str(SERVER), 0))  # bound and not listening: nobody else gets the port
        self.addCleanup(sock.close)
        return Address.of(*sock.getsockname())

    async def held(self) -> None:
        """Wait until a proxy has read something that it keeps."""
        while not any(getattr(getattr(each, "protocol", None), "held", b"") for each in reactor.getReaders()):
            await self.turn()

    async def turn(self) -> None:
        """Let the reactor turn once."""
        await deferLater(reactor, 0)


def _ignore(_reason: Failure) -> None:
    """One end of a wire is lost: the other follows by itself."""
