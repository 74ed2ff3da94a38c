"""``twistd meshinjector``: the webhook that gives pods their proxy.

Two listeners: HTTPS for API servers, on a certificate of the program's own making, and the admin site. It is ready when
API servers can call it, believe it, and would get an answer.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from prometheus_client import Counter, Gauge
from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred
from twisted.internet.task import deferLater

from meshtx import __version__
from meshtx.config_options import ConfigOptions, options_class
from meshtx.errors import ConfigError
from meshtx.kube.api import KubeApi
from meshtx.kube.api_config import in_cluster
from meshtx.kube.events import EventRecorder
from meshtx.kube.injected_values import InjectedValues
from meshtx.kube.injector import PATH, Injector, Marks, Result
from meshtx.kube.self_check import Rule, SelfCheck
from meshtx.kube.serving_certificate import Generation
from meshtx.kube.serving_rotation import ServingRotation
from meshtx.kube.settings.injector import InjectorConfig
from meshtx.kube.sidecar import Values
from meshtx.kube.watching import Watched
from meshtx.kube.webhook import NAME, PODS, WORKLOADS
from meshtx.kube.webhook_site import WebhookSite
from meshtx.net.poller import Transports, registrar
from meshtx.net.site_tls import SiteFactory, SiteTls
from meshtx.net.sockets import SocketOptions
from meshtx.observe.admin import AdminSite, Readers
from meshtx.observe.metrics import Metrics
from meshtx.pki.bundle import TrustBundle
from meshtx.services.listening import Listener, Listeners, check_free, or_end

Options = options_class(InjectorConfig)


def makeService(options: ConfigOptions[InjectorConfig]) -> IService:
    """Return what twistd runs, or end with one sentence."""
    from twisted.internet import reactor

    return or_end(InjectorConfig.program, reactor, lambda: make(reactor, options.config, os.environ))


def make(reactor: Any, config: InjectorConfig, environ: Mapping[str, str]) -> InjectorProgram:
    """Return the program's services.

    :param reactor: Any: a reactor has no one type.
    :param environ: says where the API server is.
    :raises MeshtxError: it could not do its work.
    """
    for key, address in (("listen", config.listen), ("admin_listen", config.admin_listen)):
        check_free(key, address)
    return InjectorProgram(reactor, config, KubeApi(reactor, in_cluster(environ, config.kubernetes_folder)))


RULES = (
    *(Rule(verb, "namespaces") for verb in ("get", "list", "watch")),
    *(Rule(verb, "events") for verb in ("create", "patch")),
    *(
        Rule(verb, "mutatingwebhookconfigurations", "admissionregistration.k8s.io", name=NAME)
        for verb in ("get", "patch")
    ),
)
"""What the program must be allowed."""


class InjectorProgram(MultiService):
    """All of the program.

    :raises MeshtxError: a file that it needs cannot be used.
    """

    def __init__(self, reactor: Any, config: InjectorConfig, api: KubeApi) -> None:
        super().__init__()
        self._reactor = reactor
        self._delay = config.shutdown_delay
        self.api = api
        self.metrics = Metrics()
        self._answers = Counter(
            "meshtx_injector_reviews",
            "Questions of API servers, by what became of them.",
            ("result",),
            registry=self.metrics.registry,
        )
        self._expires = Gauge(
            "meshtx_injector_cert_expiration_timestamp_seconds",
            "When the certificate that API servers see expires.",
            registry=self.metrics.registry,
        )
        self.tls = SiteTls()
        self.values = _values(config, api, self.metrics)
        self.namespaces: Watched[Marks] = Watched(api, PATH, Marks.read, lambda _: None, reactor)
        self.events = EventRecorder(api, NAME, time.time)
        self.rotation = ServingRotation(api, config.control_namespace, reactor, self.now, self._present)
        self.permissions = SelfCheck(api, RULES, reactor)
        injector = Injector(
            api,
            self.namespaces,
            self.values.get,
            self.events,
            self._answered,
            adopt_linkerd=config.adopt_linkerd_annotations,
        )
        hooks = {PODS: injector.pod, WORKLOADS: injector.workload}
        self.site = WebhookSite(hooks, reactor=reactor, answered=self._answered)
        readers = Readers.in_clear(everybody=config.admin_plaintext_metrics)
        admin = AdminSite(self.metrics, self.ready_reason, reactor=reactor, readers=readers)
        self.listeners = Listeners(
            reactor,
            config.program,
            [
                Listener("listen", config.listen, SiteFactory(self.tls, self.site)),
                Listener("admin_listen", config.admin_listen, admin, apart=True),
            ],
            SocketOptions(),
            self.metrics.registry,
            registrar=registrar(reactor, Transports.QUICK),
        )
        for part in (self.permissions, self.namespaces, self.events, self.rotation, self.listeners):
            part.setServiceParent(self)

    def now(self) -> datetime:
        """Return the time of day."""
        return datetime.now(UTC)

    def ready_reason(self) -> str | None:
        """Return why pods cannot be injected now, ``None`` where they can."""
        if not self.running:
            return "the injector is stopping"
        unknown = None if self.namespaces.synced else "the cluster's namespaces are not known yet"
        return self.permissions.ready_reason() or self.values.ready_reason() or unknown or self.rotation.ready_reason()

    def stopService(self) -> Deferred[None]:
        """Answer until nobody asks any more, for pods would be refused meanwhile; then take nothing more."""
        return ensureDeferred(self._stop())

    async def _stop(self) -> None:
        self.running = False
        self.site.closing = True
        await deferLater(self._reactor, self._delay)
        await self.listeners.stopService()
        await self.site.stop()
        await maybeDeferred(super().stopService)
        await self.api.close()

    def _present(self, generation: Generation) -> None:
        self.tls.present(generation.leaf, generation.key)
        self._expires.set(generation.not_after.timestamp())

    def _answered(self, result: Result) -> None:
        self._answers.labels(result.value).inc()


def _values(config: InjectorConfig, api: KubeApi, metrics: Metrics) -> InjectedValues:
    """Return what is injected.

    :raises ConfigError: the trust anchors cannot be used.
    """
    if config.image is None or config.trust_anchors_file is None:
        raise ConfigError("image, trust_anchors_file", "not set", "the injector needs both")
    namespace = config.control_namespace
    values = Values(
        image=config.image,
        version=__version__,
        trust_anchors="",
        trust_digest="",
        identity_address=str(config.identity_address or f"meshtx-identity.{namespace}.svc.cluster.local:8080"),
        directory_address=str(config.directory_address or f"meshtx-directory.{namespace}.svc.cluster.local:8086"),
        scope=config.scope,
        pull_policy=config.image_pull_policy.value,
        resources=config.resources,
        log_level=config.proxy_log_level.value,
        family=config.ip_family,
        metrics_names=config.metrics_identity,
    )

    def changed(trust: TrustBundle) -> None:
        metrics.anchors(anchor.not_valid_after_utc for anchor in trust.anchors)

    current = InjectedValues(api, values, config.trust_anchors_file, changed)
    current.load()
    return current
