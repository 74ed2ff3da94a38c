"""``twistd meshdirectory``: tells sidecars who is behind an address in a cluster.

Three listeners: gRPC over mutual TLS for whoever has a name of this mesh; the tap API, on a certificate of the
program's own making, for API servers; and the admin site. It follows the API server, and is ready once it knows the
cluster whole; from then on it answers from what it knows, whatever becomes of the API.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred

from meshtx.config_options import ConfigOptions, options_class
from meshtx.kube.api import KubeApi
from meshtx.kube.api_config import in_cluster
from meshtx.kube.cluster import Cluster, Settings
from meshtx.kube.cluster_watch import RULES, ClusterWatch
from meshtx.kube.directory_metrics import DirectoryMetrics
from meshtx.kube.directory_service import MAX_SESSIONS, DirectoryService
from meshtx.kube.objects import Kept
from meshtx.kube.self_check import SelfCheck
from meshtx.kube.settings.directory import DirectoryConfig
from meshtx.kube.tap_api import MAX_TAPS, TapApi
from meshtx.kube.tap_api import RULES as TAP_RULES
from meshtx.kube.tap_relay import MAX_PODS
from meshtx.net.poller import Transports, registrar
from meshtx.net.sockets import SocketOptions
from meshtx.observe.admin import AdminSite, Readers
from meshtx.observe.flow import Direction, Refusal
from meshtx.observe.metrics import Metrics
from meshtx.proxy.mesh_tls import MeshTls
from meshtx.rpc.server import RpcServer
from meshtx.rpc.tls_listener import TlsListener
from meshtx.services.credentials import credentials_source
from meshtx.services.descriptors import raise_descriptor_limit
from meshtx.services.handshakes import FailedHandshakes
from meshtx.services.listening import Listener, Listeners, check_free, or_end

GRACE = 1.0
"""Seconds that calls have to end when the program stops; followers would stay for ever."""

MAX_REQUEST = 2**20
"""Bytes of a request: 11,000 addresses that a sidecar knows take a third of it."""

_SPARE_DESCRIPTORS = 200 + MAX_TAPS * MAX_PODS
"""For the API, the other sites, files and handshakes, and a connection for each pod that is tapped."""

Options = options_class(DirectoryConfig)


def makeService(options: ConfigOptions[DirectoryConfig]) -> IService:
    """Return what twistd runs, or end with one sentence."""
    from twisted.internet import reactor

    def make_it() -> DirectoryProgram:
        raise_descriptor_limit(MAX_SESSIONS + _SPARE_DESCRIPTORS)
        return make(reactor, options.config, os.environ)

    return or_end(DirectoryConfig.program, reactor, make_it)


def make(reactor: Any, config: DirectoryConfig, environ: Mapping[str, str]) -> DirectoryProgram:
    """Return the program's services.

    :param reactor: Any: a reactor has no one type.
    :raises MeshtxError: it could not do its work.
    """
    for key in ("listen", "tap_listen", "admin_listen"):
        check_free(key, getattr(config, key))
    return DirectoryProgram(reactor, config, environ)


class DirectoryProgram(MultiService):
    """All of the program.

    :param environ: says where the API server is.
    :raises MeshtxError: a file that it needs cannot be used.
    """

    def __init__(self, reactor: Any, config: DirectoryConfig, environ: Mapping[str, str]) -> None:
        super().__init__()
        assert config.name is not None  # what check() has made sure of
        self.metrics = Metrics()
        sockets = SocketOptions()
        self.source = credentials_source(config, reactor, self.metrics, sockets)
        self.tls = MeshTls(self.source, config.name)
        self.api = KubeApi(reactor, in_cluster(environ, config.kubernetes_folder))
        cluster = Cluster(config.name.scope, settings_of(config))
        self.directory = DirectoryService(cluster, reactor, lambda: self.watch.followed())  # noqa: PLW0108 - there later
        self.taps = TapApi(
            self.api,
            config.name.scope.control_namespace,
            cluster,
            lambda: self.tls.contexts,
            known=lambda: self.directory.synced,
            reactor=reactor,
            now=self.now,
            registry=self.metrics.registry,
        )
        self.rpc = RpcServer(
            self.directory.handlers(),
            reactor,
            max_message=MAX_REQUEST,
            max_connections=MAX_SESSIONS,
            limited=lambda: self.metrics.refused(Direction.IN, Refusal.LIMIT),
        )
        self.watch = ClusterWatch(self.api, self._changed, self.directory.known, reactor, self._directory_metrics())
        self.permissions = SelfCheck(self.api, RULES, reactor)
        tap_permissions = SelfCheck(self.api, TAP_RULES, reactor, lacking="no taps by kubectl's rights")
        failed = FailedHandshakes("a follower is refused", self.metrics, reactor).failed
        rpc = TlsListener(self.rpc, lambda: self.tls.contexts, reactor, require_peer=True, failed=failed)
        readers = Readers.in_clear(everybody=config.admin_plaintext_metrics)
        admin = AdminSite(self.metrics, self.ready_reason, reactor=reactor, readers=readers)
        self.listeners = Listeners(
            reactor,
            config.program,
            [
                Listener("listen", config.listen, rpc),
                Listener("tap_listen", config.tap_listen, self.taps.factory),
                Listener("admin_listen", config.admin_listen, admin, apart=True),
            ],
            sockets,
            self.metrics.registry,
            registrar=registrar(reactor, Transports.QUICK),
        )
        for part in (self.source, self.permissions, tap_permissions, self.watch, self.taps, self.listeners):
            part.setServiceParent(self)

    def now(self) -> datetime:
        """Return the time of day."""
        return datetime.now(UTC)

    def _changed(self, before: Kept | None, after: Kept | None) -> None:
        self.directory.changed(before, after)
        self.taps.changed(before, after)

    def ready_reason(self) -> str | None:
        """Return why sidecars get no answers now, ``None`` where they do; an API that went away is no reason."""
        if not self.directory.synced:
            return self.permissions.ready_reason() or self.watch.ready_reason() or "the cluster is not known yet"
        return self.source.ready_reason()

    def stopService(self) -> Deferred[Any]:
        """Take nothing more, end all sessions: their sidecars know what they know, and follow another directory."""
        self.directory.stop()
        stopped = [maybeDeferred(super().stopService), self.rpc.stop(GRACE)]
        return gatherResults(stopped).addCallback(lambda _: self.api.close())

    def _directory_metrics(self) -> DirectoryMetrics:
        directory = self.directory
        return DirectoryMetrics(self.metrics.registry, lambda: directory.sessions, lambda: directory.subscriptions)


def settings_of(config: DirectoryConfig) -> Settings:
    """Return what a cluster is told that its API does not tell."""
    return Settings(
        mesh=config.cluster_networks,
        balancers=config.balancer_networks,
        opaque=tuple(range(each.first, each.last + 1) for each in config.opaque_ports),
        domain=config.cluster_domain,
    )
