"""``twistd meshproxy``: the sidecar. Its options are `meshtx.config.ProxyConfig`; here it is put together."""

from __future__ import annotations

from collections.abc import Container
from random import Random
from socket import socket
from typing import Any, cast

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IProtocolFactory, ISystemHandle, ITCPTransport
from twisted.logger import Logger

from meshtx.config import ProxyConfig, options_class
from meshtx.config_options import ConfigOptions
from meshtx.directory.file import FileDirectory
from meshtx.directory.nothing import Nothing
from meshtx.directory.ranges import Networks, Ranges
from meshtx.directory.remote import RemoteDirectory
from meshtx.net.dial import Dialler
from meshtx.net.origdst import NoOriginalDestination, Original, original_destination
from meshtx.net.others import others_listen
from meshtx.net.poller import registrar
from meshtx.net.sockets import SocketOptions
from meshtx.observe.admin import AdminSite, Readers
from meshtx.observe.detectors import load_detectors
from meshtx.observe.flow import Refusal
from meshtx.observe.flows import Flows
from meshtx.observe.metrics import Metrics
from meshtx.observe.tap import TapHub
from meshtx.observe.tap_rpc import TapService
from meshtx.proxy.early import EarlyDials
from meshtx.proxy.ends import Live
from meshtx.proxy.goal import Goal, Goals
from meshtx.proxy.inbound import Inbound
from meshtx.proxy.introduction import Introductions
from meshtx.proxy.limits import Limits, Room, descriptors_for
from meshtx.proxy.mesh_tls import MeshTls
from meshtx.proxy.outbound import Destination, Outbound
from meshtx.proxy.parts import Parts, Patience, endpoints
from meshtx.proxy.peer import Peers
from meshtx.proxy.policy import Policy
from meshtx.proxy.prober import Prober
from meshtx.proxy.served_legs import ServedLegs
from meshtx.proxy.work import Refused
from meshtx.proxy.workload import Workload
from meshtx.rpc.connect import Connector
from meshtx.rpc.server import RpcServer
from meshtx.rpc.tls_listener import TlsListener
from meshtx.services.admin_port import AdminPort
from meshtx.services.credentials import credentials_source
from meshtx.services.descriptors import raise_descriptor_limit
from meshtx.services.garbage import spare_collections
from meshtx.services.handshakes import FailedHandshakes
from meshtx.services.listening import Listener, Listeners, check_free, check_mark, or_end
from meshtx.services.outliving import workload_gone
from meshtx.services.readiness import Readiness
from meshtx.services.service_manager import ServiceManager
from meshtx.watch import Followed
from meshtx.wire.address import Address

RESET_GRACE = 1.0
"""Seconds for what is reset when the proxy stops to be gone."""

_FROM_PEERS = {"inbound_listen", "inbound_forward"}
"""Settings of listeners to which others than the workload connect, to reach it."""

TAP_GRACE = 1.0
"""Seconds in which taps may take what is on its way to them when the proxy stops."""

Options: type[ConfigOptions[ProxyConfig]] = options_class(ProxyConfig)


def makeService(options: ConfigOptions[ProxyConfig]) -> IService:
    """Return the sidecar, with its ports open (twistd's plugin interface)."""
    from twisted.internet import reactor

    def make() -> ProxyService:
        check_mark(options.config.mark)
        descriptors = raise_descriptor_limit(descriptors_for(options.config.max_undecided))
        manager = ServiceManager.of_this_process()
        service = ProxyService(options.config, reactor, descriptors, manager)
        for listener in service.listeners.wanted:
            check_free(listener.key, listener.address, manager.passed)
        Readiness(manager, service.ready_reason, reactor, service.listeners.became_ready).setServiceParent(service)
        reactor.callWhenRunning(spare_collections)
        return service

    return or_end(ProxyConfig.program, reactor, make)


class ProxyService(MultiService):
    """The sidecar.

    :param reactor: (Any: a reactor has no one type.)
    :param descriptors: how many the process may have; ``None``: enough.
    :param manager: what has started the process, if it is one.
    :raises ConfigError: a file, a name or an address of the configuration is no good.
    """

    log = Logger()

    def __init__(
        self,
        config: ProxyConfig,
        reactor: Any,
        descriptors: int | None = None,
        manager: ServiceManager | None = None,
    ) -> None:
        super().__init__()
        self._config = config
        self._reactor = reactor
        self._io = registrar(reactor, config.transports)
        self._enough = descriptors_for(config.max_undecided)
        self._descriptors = self._enough if descriptors is None else descriptors
        self._room = Room.within(self._descriptors, config.max_undecided)
        self.metrics = Metrics()
        self.live = Live()
        self._sockets_are_kept = manager is not None and manager.listens  # the next process has their backlog
        self._legs = Live()
        self.tap = TapHub(reactor, self.metrics)
        self._sockets = SocketOptions(mark=config.mark, user_timeout=config.tcp_user_timeout)
        self.source = credentials_source(config, reactor, self.metrics, self._sockets)
        self.tls = MeshTls(self.source, config.name)
        self.directory = self._directory()
        self._taps = RpcServer(TapService(self.tap, config.tap_identity).handlers(), reactor)
        self._own_ports: set[int] = set()
        self._parts = self._make_parts()
        self.listeners = Listeners(
            reactor,
            config.program,
            self._listeners(),
            self._sockets,
            self.metrics.registry,
            registrar=self._io,
            bound=self._bound,
            manager=manager,
        )
        for child in (self.source, self.directory, self.listeners):
            child.setServiceParent(self)

    def _directory(self) -> FileDirectory | RemoteDirectory | Nothing:
        config = self._config
        if config.directory_file is not None:
            return FileDirectory(
                config.directory_file, self._reactor, reloaded=self.metrics.reloads(Followed.DIRECTORY)
            )
        if config.directory_address is None:
            return Nothing()
        where = config.directory_address
        connector = Connector(self._reactor, where.host, where.port, config.directory_name, self._sockets)
        directory = RemoteDirectory(
            lambda contexts: ensureDeferred(connector.connect(contexts)),
            lambda: self.tls.contexts,
            self._reactor,
            rng=Random(),  # noqa: S311 - spreads load
            registry=self.metrics.registry,
        )
        self.tls.renewed.append(directory.renewed)
        return directory

    def _make_parts(self) -> Parts:
        """Return what every connection may need."""
        config = self._config
        dialler = Dialler(
            self._io,
            self._sockets,
            config.connect_timeout,
            hedged=self.metrics.hedged,
            retransmitted=self.metrics.retransmitted,
        )
        patience = Patience(config.handshake_timeout, config.directory_timeout)
        return Parts(
            clock=self._reactor,
            live=self.live,
            flows=Flows(self._reactor, self.metrics, self.tap, load_detectors(config.detectors)),
            directory=self.directory,
            dialler=dialler,
            tls=self.tls,
            peers=Peers(
                self._reactor,
                dialler,
                self.tls,
                self.metrics,
                handshake=patience.handshake,
                settle=patience.settle,
            ),
            served=ServedLegs(self._reactor, self.tls, self.metrics),
            policy=Policy.of(config.inbound_policy, config.inbound_allow),
            own_ports=self._own_ports,
            limits=Limits(self._reactor, self.metrics, self._room),
            early=EarlyDials(self.metrics, self._room.early),
            patience=patience,
            balancers=config.proxy_protocol_from,
            ranges=Ranges(
                Networks(config.node_networks), Networks(config.pod_networks), Networks(config.balancer_networks)
            ),
            gateways=frozenset(config.gateways),
            introductions=Introductions(config.proxy_protocol_to, frozenset(config.proxy_protocol_tlvs)),
        )

    def _listeners(self) -> list[Listener]:
        config, parts = self._config, self._parts
        to_workload = Dialler(self._io, self._sockets, config.connect_timeout, hedges=())
        workload = Workload(to_workload, {f.listen.port: f.destination for f in config.inbound_forward})
        inbound = Inbound(parts, workload, _redirected_goal)
        outbound = Outbound(parts, _redirected)
        proxied: list[tuple[str, Address, IProtocolFactory]] = [
            *(("inbound_listen", address, inbound) for address in config.inbound_listen),
            *(("outbound_listen", address, outbound) for address in config.outbound_listen),
            *(
                ("inbound_forward", f.listen, Inbound(parts, workload, _forwarded_goal(f.listen.port)))
                for f in config.inbound_forward
            ),
            *(
                ("outbound_forward", f.listen, Outbound(parts, _forwarded(f.destination), explicit=True))
                for f in config.outbound_forward
            ),
        ]
        return [
            *(Listener(*each, needs_readiness=True) for each in proxied),
            Listener("tap_listen", config.tap_listen, self._tap_port()),
            Listener("admin_listen", config.admin_listen, self._admin(to_workload), apart=True),
        ]

    def _bound(self, listener: Listener, port: int) -> None:
        """Note a port of ours: by one of an outbound forward a peer could go out in our name."""
        if listener.key != "inbound_forward":  # that is the workload's, as clients know it
            self._own_ports.add(port)

    def _tap_port(self) -> TlsListener:
        failures = FailedHandshakes("tap refused", self.metrics, self._reactor)
        return TlsListener(
            self._taps, lambda: self.tls.contexts, self._reactor, require_peer=True, failed=failures.failed
        )

    def _admin(self, to_workload: Dialler) -> AdminPort:
        probes = Prober(self._config.probes, to_workload, self._reactor).pages()

        def site(shows_metrics: bool) -> AdminSite:
            return AdminSite(
                self.metrics,
                self.ready_reason,
                reactor=self._reactor,
                readers=Readers.EVERYBODY if shows_metrics else Readers.NAMES,
                shutdown=self._reactor.stop,
                pages=probes,
            )

        return AdminPort(
            site,
            self.tls,
            self._reactor,
            plaintext_metrics=self._config.admin_plaintext_metrics,
            readers=self._config.metrics_identity,
            failed=FailedHandshakes("admin: TLS refused", self.metrics, self._reactor).failed,
        )

    def startService(self) -> None:
        """Start, and say if the process may have too few descriptors for its bounds."""
        if self._descriptors < self._enough:
            self.log.warn(
                "{descriptors} descriptors are too few (RLIMIT_NOFILE; {enough} would do): at most {undecided}"
                " connections may be undecided, {handshakes} in their handshake",
                descriptors=self._descriptors,
                enough=self._enough,
                undecided=self._room.undecided,
                handshakes=self._room.handshakes,
            )
        super().startService()

    def ready_reason(self) -> str | None:
        """Return why the workload should get no traffic yet, ``None`` where it may."""
        if not self.running:
            return "the proxy is stopping" if self.live else "the proxy has not started"
        return self.source.ready_reason() or self._directory_reason()

    def _directory_reason(self) -> str | None:
        if self.directory.ready:
            return None
        problem = self.directory.problem if isinstance(self.directory, RemoteDirectory) else None
        return "the directory has not answered yet" + (f": {problem}" if problem else "")

    def stopService(self) -> Deferred[None]:
        """Take nothing new, let what runs finish for a while, then end it."""
        return ensureDeferred(self._stop())

    async def _stop(self) -> None:
        self.running = False
        patience = self._config.drain_timeout
        until = self._reactor.seconds() + patience
        if self.live:
            self.log.info("waiting {seconds:g} s for {count} connections", seconds=patience, count=len(self.live))
        self._parts.served.stop(self._legs)
        if not self._sockets_are_kept:
            await self._outlive(patience)
        await self.listeners.stopService()
        self._parts.peers.stop(self._legs)
        if not await self._within(until - self._reactor.seconds(), ensureDeferred(self._all_gone())):
            if self.live:
                self.log.warn("{count} connections did not end in time and are reset", count=len(self.live))
            self.live.abort()
            self._legs.abort()
            await self._within(RESET_GRACE, ensureDeferred(self._all_gone()))
        self.tap.close()
        await self._taps.stop(TAP_GRACE)
        self.tls.close()
        await super().stopService()

    async def _outlive(self, patience: float) -> None:
        """Take nothing more for the workload, but what it begins itself as long as it has connections, or lives.

        What has come to a listener by its end is served: to its client it is a connection.
        """
        await self._close(_FROM_PEERS)
        await self._within(patience, self._workload_gone())
        await self._close({each.key for each in self.listeners.wanted})

    async def _close(self, keys: Container[str]) -> None:
        for port in self.listeners.of(keys):
            port.accept_backlog()
        await self.listeners.close(keys)

    def _workload_gone(self) -> Deferred[None]:
        if self._config.outlive_workload:
            return ensureDeferred(workload_gone(self.live, others_listen, self._reactor))
        return self.live.empty()

    async def _within(self, patience: float, waiting: Deferred[None]) -> bool:
        try:
            await waiting.addTimeout(max(patience, 0.0), self._reactor)
        except DeferredTimeout:
            return False
        return True

    async def _all_gone(self) -> None:
        await self.live.empty()
        await self._legs.empty()


def _redirected(transport: ITCPTransport) -> Address:
    """Return where an outbound connection was going before the kernel brought it here."""
    _, local = endpoints(transport)
    original = _original(transport, local)
    if not original.redirected:
        raise Refused(Refusal.LOOP, f"{local} is this proxy itself")
    return original.address


def _original(transport: ITCPTransport, local: Address) -> Original:
    return original_destination(cast("socket", cast("ISystemHandle", transport).getHandle()), local)


def _redirected_goal(transport: ITCPTransport) -> Goal:
    """Return what an inbound connection is addressed to: a port of the workload, or this proxy."""
    _, local = endpoints(transport)
    try:
        original = _original(transport, local)
    except NoOriginalDestination:  # nothing is redirected on this host: only other proxies come here
        return Goal(local.ip, local.port, direct=True)
    ip = original.address.ip
    if ip.is_loopback and not local.ip.is_loopback:  # nobody is led there from outside (route_localnet)
        ip = local.ip
    return Goal(ip, original.address.port, direct=not original.redirected)


def _forwarded(destination: Address) -> Destination:
    return lambda _: destination


def _forwarded_goal(port: int) -> Goals:
    return lambda transport: Goal(endpoints(transport)[1].ip, port, direct=False)
