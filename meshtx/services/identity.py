"""``twistd meshidentity``: the certificate authority of a mesh.

Two listeners: gRPC over TLS 1.3 on the service's own certificate (`Identity`, `Health`), and the admin site. A
client need not have a certificate: the token proves who it is. Without the issuer's folder it does not start.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from meshtx.config import ConfigOptions, IdentityConfig, options_class
from meshtx.errors import ConfigError, CredentialsError
from meshtx.identity.issuer_files import IssuerFiles
from meshtx.identity.own_certificate import OwnCertificate
from meshtx.identity.service import MAX_REQUEST, CertifyService
from meshtx.kube.api import KubeApi
from meshtx.kube.events import EventRecorder, Involved, Type
from meshtx.net.contexts import Contexts
from meshtx.net.poller import Transports, registrar
from meshtx.net.sockets import SocketOptions
from meshtx.observe.admin import AdminSite, Readers
from meshtx.observe.flow import Direction, Refusal
from meshtx.observe.metrics import Metrics
from meshtx.rpc.health import Health
from meshtx.rpc.methods import CERTIFY
from meshtx.rpc.server import RpcServer
from meshtx.rpc.tls_listener import TlsListener
from meshtx.services.handshakes import FailedHandshakes
from meshtx.services.listening import Listener, Listeners, check_free, or_end
from meshtx.services.readiness import Readiness
from meshtx.services.service_manager import ServiceManager
from meshtx.services.validation import make_validation
from meshtx.watch import Followed, Reload

Options = options_class(IdentityConfig)


SERVICE = CERTIFY.path.split("/")[1]
"""The name under which the health service knows ``Identity``."""

GRACE = 5.0
"""Seconds that calls have to end when the program stops."""

_JUDGED = 5.0
"""Seconds between two looks at whether the service can do its work."""


def makeService(options: ConfigOptions[IdentityConfig]) -> IService:
    """Return what twistd runs, or end with one sentence."""
    from twisted.internet import reactor

    def make_it() -> IdentityService:
        manager = ServiceManager.of_this_process()
        service = make(reactor, options.config, manager)
        Readiness(manager, service.ready_reason, reactor).setServiceParent(service)
        return service

    return or_end(IdentityConfig.program, reactor, make_it)


def make(reactor: Any, config: IdentityConfig, manager: ServiceManager | None = None) -> IdentityService:
    """Return the program's services.

    :param reactor: Any: a reactor has no one type.
    :param manager: what has started the process, if it is one.
    :raises MeshtxError: it could not do its work.
    """
    manager = manager or ServiceManager()
    for key, address in (("listen", config.listen), ("admin_listen", config.admin_listen)):
        check_free(key, address, manager.passed)
    return IdentityService(reactor, config, manager)


class IdentityService(MultiService):
    """All of the program.

    :param manager: what has started the process, if it is one.
    :raises MeshtxError: a file that it needs cannot be used.
    """

    log = Logger()

    def __init__(self, reactor: Any, config: IdentityConfig, manager: ServiceManager | None = None) -> None:
        super().__init__()
        self.metrics = Metrics()
        self.health = Health()
        self._count_reload = self.metrics.reloads(Followed.ISSUER)
        self.validation = make_validation(reactor, config, self.metrics, os.environ)
        self._about = Involved("apps/v1", "Deployment", config.own_name.namespace, config.own_name.service_account)
        self._events = _events(config, self.validation.api)
        self.issuer = _issuer(reactor, config, self._new_issuer, self._reloaded)
        self.own = OwnCertificate(config.own_name, lambda: self.issuer.loaded, reactor, lifetime=config.lifetime)
        self.own.subscribe(self._new_certificate)
        certify = CertifyService(
            lambda: self.issuer.loaded,
            self.validation.validator,
            config.scope,
            reactor,
            time.time,
            lifetime=config.lifetime,
            answered=self.metrics.certify,
        )
        self.rpc = RpcServer(
            {**certify.handlers(), **self.health.handlers()},
            reactor,
            max_message=MAX_REQUEST,
            limited=lambda: self.metrics.refused(Direction.IN, Refusal.LIMIT),
        )
        failed = FailedHandshakes("a caller is refused", self.metrics, reactor).failed
        tls = TlsListener(self.rpc, lambda: self._contexts, reactor, require_peer=False, failed=failed)
        readers = Readers.in_clear(everybody=config.admin_plaintext_metrics)
        admin = AdminSite(self.metrics, self.ready_reason, reactor=reactor, readers=readers)
        self.listeners = Listeners(
            reactor,
            config.program,
            [Listener("listen", config.listen, tls), Listener("admin_listen", config.admin_listen, admin, apart=True)],
            SocketOptions(),
            self.metrics.registry,
            manager=manager,
            registrar=registrar(reactor, Transports.QUICK),
        )
        self._judging = LoopingCall(self._judge)
        self._judging.clock = reactor
        for part in (self._events, self.validation.beside, self.issuer, self.own, self.listeners):
            if part is not None:
                part.setServiceParent(self)
        self._new_certificate()
        self._show_issuer()

    def ready_reason(self) -> str | None:
        """Return why certificates cannot be issued now, ``None`` where they can."""
        return self._issuer_reason() or self.own.ready_reason() or self.validation.ready_reason()

    def _issuer_reason(self) -> str | None:
        try:
            self.issuer.loaded.check(datetime.now(UTC))
        except CredentialsError as error:
            return str(error)
        return None

    def startService(self) -> None:
        """Serve."""
        super().startService()
        self._judging.start(_JUDGED).addErrback(lambda failure: self.log.failure("health is not judged", failure))

    def stopService(self) -> Deferred[Any]:
        """Take nothing more, and let what runs end."""
        self._judging.stop()
        stopped = [maybeDeferred(super().stopService), self.rpc.stop(GRACE)]
        if self.validation.api is not None:
            stopped.append(self.validation.api.close())
        return gatherResults(stopped)

    def _judge(self) -> None:
        reason = self._issuer_reason()
        if reason is not None:
            self._tell("IssuerValidationFailed", reason)
        serving = self.ready_reason() is None
        self.health.set("", serving=serving)
        self.health.set(SERVICE, serving=serving)

    def _reloaded(self, result: Reload) -> None:
        self._count_reload(result)
        if result is Reload.REJECTED:
            self._tell("IssuerUpdateSkipped", f"the last good one stays in use: {self.issuer.reload_error}")
        else:
            self._tell("IssuerUpdated", "the issuer was loaded again", Type.NORMAL)

    def _tell(self, reason: str, message: str, type: Type = Type.WARNING) -> None:  # noqa: A002  # the API's word
        """Write an event, for whoever administers the cluster; elsewhere there are none."""
        if self._events is not None:
            self._events.tell(self._about, reason, message, type)

    def _new_issuer(self) -> None:
        self._show_issuer()
        self.own.renew()

    def _show_issuer(self) -> None:
        self.metrics.issuer(self.issuer.loaded.issuer.not_after)
        self.metrics.anchors(anchor.not_valid_after_utc for anchor in self.issuer.loaded.trust.anchors)

    def _new_certificate(self) -> None:
        credentials = self.own.credentials
        if credentials is not None:
            self._contexts = Contexts(credentials, self.own.trust)
            self.metrics.certificate(credentials.not_after, datetime.now(UTC))


def _issuer(
    reactor: Any, config: IdentityConfig, changed: Callable[[], None], reloaded: Callable[[Reload], None]
) -> IssuerFiles:
    if config.issuer is None:
        raise ConfigError("issuer", "not set", "name the folder that 'meshtx ca issuer' has made")
    return IssuerFiles(
        config.issuer,
        reactor,
        name=config.own_name,
        trust_file=config.trust_anchors_file,
        changed=changed,
        reloaded=reloaded,
    )


def _events(config: IdentityConfig, api: KubeApi | None) -> EventRecorder | None:
    return None if api is None else EventRecorder(api, config.own_name.service_account, time.time)
