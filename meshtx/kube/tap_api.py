"""The tap API: who may use kubectl's own rights to watch pods' proxies, and what becomes of it.

    user ─▶ API server ─▶ `TapSite` (who?) ─▶ SubjectAccessReview (may they?) ─▶ `TapRelay` ─▶ the pods' proxies, as the
                                                                                              directory, over mutual TLS

Sidecars let the directory tap them and nobody else; so the directory asks the API server about each user.

The directory is ready whether API servers believe it yet or not: sidecars depend on it, and a tap can be tried again.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred

from meshtx.errors import PeerError
from meshtx.kube.api import ApiError, KubeApi, Object
from meshtx.kube.cluster import Cluster, Meshed
from meshtx.kube.front_proxy import RULE as FRONT_PROXY
from meshtx.kube.front_proxy import FrontProxyWatch, User
from meshtx.kube.objects import Kept, Pod
from meshtx.kube.self_check import Rule
from meshtx.kube.serving_certificate import Generation
from meshtx.kube.serving_rotation import Called, ServingRotation
from meshtx.kube.tap_names import API_SERVICE, SERVICE
from meshtx.kube.tap_outlet import Outlet
from meshtx.kube.tap_relay import OnEvent, TapRelay
from meshtx.kube.tap_site import TapRefused, TapSite
from meshtx.kube.tap_target import WHOLE, TapTarget
from meshtx.net.contexts import Contexts
from meshtx.net.dial import Dialler
from meshtx.net.site_tls import SiteFactory, SiteTls
from meshtx.net.sockets import SocketOptions
from meshtx.observe.tap_client import TapClient
from meshtx.observe.tap_match import BadMatch
from meshtx.observe.tap_query import TapQuery
from meshtx.rpc.messages.tap_pb2 import ObserveRequest
from meshtx.wire.address import Address
from meshtx.wire.ports import PROXY_TAP

REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"

MAX_TAPS = 8
"""At once; half of them of one namespace: who may tap only there keeps nobody from the others."""
CONNECT_TIMEOUT = 5.0
"""Seconds."""

CALLED = Called(
    "the tap API", SERVICE, f"/apis/apiregistration.k8s.io/v1/apiservices/{API_SERVICE}", lambda _: ["/spec"]
)
"""What the certificate is for."""


RULES = (
    FRONT_PROXY,
    Rule("create", "subjectaccessreviews", "authorization.k8s.io"),
    *(Rule(verb, "apiservices", "apiregistration.k8s.io", name=API_SERVICE) for verb in ("get", "patch")),
)
"""What must be allowed."""


class TapApi(MultiService):
    """Serves while it runs; `factory` is what to listen with.

    :param contexts: returns those of the directory's own credentials, ``None`` while it has none.
    :param known: whether the cluster is known whole.
    :param now: the time of day, aware.
    :param reactor: (Any: a reactor has no one type.)
    """

    def __init__(
        self,
        api: KubeApi,
        namespace: str,
        cluster: Cluster,
        contexts: Callable[[], Contexts | None],
        *,
        known: Callable[[], bool],
        reactor: Any,
        now: Callable[[], datetime],
        registry: CollectorRegistry,
    ) -> None:
        super().__init__()
        self._api = api
        self._cluster = cluster
        self._contexts = contexts
        self._known = known
        self._reactor = reactor
        self._dialler = Dialler(reactor, SocketOptions(), CONNECT_TIMEOUT)
        self._taps: dict[TapRelay, str] = {}
        """Those that are open, and their namespaces."""
        self._answers = Counter(
            "meshtx_tap_api_requests",
            "Requests to the tap API, by the status of their answer.",
            ("code",),
            registry=registry,
        )
        open_taps = Gauge("meshtx_tap_api_open", "Taps that are open through the API.", registry=registry)
        open_taps.set_function(lambda: len(self._taps))
        tls = SiteTls(ask_client=True)

        def present(generation: Generation) -> None:
            tls.present(generation.leaf, generation.key)

        self.rotation = ServingRotation(api, namespace, reactor, now, present, called=CALLED)
        self._front = FrontProxyWatch(api, reactor, now)
        self._site = TapSite(self._front, self.open, reactor=reactor, answered=self._answered)
        self.factory = SiteFactory(tls, self._site)
        for part in (self.rotation, self._front):
            part.setServiceParent(self)

    def stopService(self) -> Deferred[Any]:
        """End all taps."""
        self._site.stop()
        return super().stopService()

    def changed(self, before: Kept | None, after: Kept | None) -> None:
        """Take a change of one of the cluster's objects, which the cluster has taken already."""
        if not self._taps or not isinstance(after or before, Pod):
            return
        for tap in tuple(self._taps):
            tap.changed(_pod(before), _pod(after))

    async def open(self, user: User, target: TapTarget, query: TapQuery, outlet: Outlet) -> TapRelay:
        """Open a tap for a user who may have it.

        :raises TapRefused: they may not, or there is nothing to tap.
        """
        try:
            request = query.request(self._cluster.scope)
        except BadMatch as error:
            raise TapRefused(HTTPStatus.BAD_REQUEST, str(error)) from error
        await self._authorize(user, target)
        if len(self._taps) >= MAX_TAPS:
            raise TapRefused(HTTPStatus.TOO_MANY_REQUESTS, f"{MAX_TAPS} taps are open, and there may be no more")
        if [*self._taps.values()].count(target.namespace) >= MAX_TAPS // 2:
            text = f"{MAX_TAPS // 2} taps of namespace {target.namespace} are open, and there may be no more"
            raise TapRefused(HTTPStatus.TOO_MANY_REQUESTS, text)
        if not self._known():  # that there is nothing would be no fact
            raise TapRefused(HTTPStatus.SERVICE_UNAVAILABLE, "the directory does not know the cluster yet: try again")
        pods = self._pods(target)

        def reached(pod: Pod) -> Meshed | None:
            return self._cluster.reached(pod) if target.holds(pod) else None

        async def observe(where: Meshed, on_event: OnEvent) -> None:
            await self._observe(where, request, on_event)

        tap = TapRelay(reached, observe, outlet.add, self._reactor, self._ended, mesh=self._cluster.scope)
        self._taps[tap] = target.namespace
        tap.begin(pods)
        return tap

    def _ended(self, tap: TapRelay) -> None:
        self._taps.pop(tap, None)

    async def _observe(self, where: Meshed, request: ObserveRequest, on_event: OnEvent) -> None:
        contexts = self._contexts()
        if contexts is None:
            raise PeerError("the directory has no certificate now")
        taps = TapClient(self._reactor, self._dialler, contexts)
        await taps.observe(Address(where.ip, PROXY_TAP), where.name, request, on_event)

    def _pods(self, target: TapTarget) -> list[Pod]:
        found = [pod for pod in self._cluster.pods if target.holds(pod)]
        if not found and target.resource != WHOLE:
            raise TapRefused(HTTPStatus.NOT_FOUND, f"{target}: no pods in namespace {target.namespace}")
        meshed = [pod for pod in found if self._cluster.reached(pod)]
        if found and not meshed:
            raise TapRefused(
                HTTPStatus.NOT_FOUND,
                f"{target}: none of {len(found)} pods is meshed; label the namespace meshtx.io/inject=enabled and"
                " restart them",
            )
        return meshed

    async def _authorize(self, user: User, target: TapTarget) -> None:
        review: Object = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {**user.as_review(), "resourceAttributes": target.attributes()},
        }
        try:
            status = (await self._api.post(REVIEWS, review)).get("status")
        except ApiError as error:
            text = f"the API server does not say whether {user.name} may: {error}"
            raise TapRefused(HTTPStatus.SERVICE_UNAVAILABLE, text) from error
        if not isinstance(status, dict) or status.get("allowed") is not True or status.get("denied"):
            text = f"{user.name} may not watch {target.right} in namespace {target.namespace}"
            raise TapRefused(HTTPStatus.FORBIDDEN, text)

    def _answered(self, status: HTTPStatus) -> None:
        self._answers.labels(str(status.value)).inc()


def _pod(kept: Kept | None) -> Pod | None:
    return kept if isinstance(kept, Pod) else None
