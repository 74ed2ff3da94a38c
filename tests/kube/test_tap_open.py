"""The tap API without a cluster: whom it lets tap what, and what it says over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from meshtx.kube.api_errors import ApiForbidden, ApiUnavailable, Object
from meshtx.kube.cluster import Cluster
from meshtx.kube.front_proxy import Unauthenticated, User
from meshtx.kube.objects import Pod
from meshtx.kube.tap_api import MAX_TAPS, REVIEWS, TapApi
from meshtx.kube.tap_names import PATH
from meshtx.kube.tap_outlet import Outlet
from meshtx.kube.tap_relay import TapRelay
from meshtx.kube.tap_site import TapRefused, TapSite
from meshtx.kube.tap_target import TapTarget
from meshtx.observe.tap_query import TapQuery
from tests.kube.objects import ELSEWHERE, SCOPE, SHOP, pod

JANE = User("jane", ("ops",), "u-1", {"scopes": ["a"]})
WEB = TapTarget(SHOP, "deployments", "web")
EVERY = TapTarget(SHOP, "deployments")
PODS = ("deployments/web",)


class Api:
    """Answers reviews."""

    def __init__(self) -> None:
        self.status: object = {"allowed": True}
        self.allows: Callable[[Object], bool] | None = None
        self.asked: list[tuple[str, Object]] = []

    async def post(self, path: str, body: Object) -> Object:
        self.asked.append((path, body))
        if isinstance(self.status, Exception):
            raise self.status
        if self.allows is not None:
            return {"status": {"allowed": self.allows(body["spec"]["resourceAttributes"])}}
        return {"status": self.status}


class OpenTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.api = Api()
        self.cluster = Cluster(SCOPE)
        self.registry = CollectorRegistry()
        self.known = True
        self.taps = TapApi(
            self.api,  # type: ignore[arg-type]  # what it uses of it
            "meshtx",
            self.cluster,
            lambda: None,
            known=lambda: self.known,
            reactor=self.clock,
            now=lambda: datetime.now(UTC),
            registry=self.registry,
        )
        self.lines: list[bytes] = []
        self.put(pod(workloads=PODS))

    def put(self, one: Pod) -> None:
        self.cluster.apply(None, one)

    def open(self, target: TapTarget = WEB, **query: Any) -> TapRelay:
        outlet = Outlet(self.lines.append, self.clock)
        self.addCleanup(outlet.stopProducing)
        opening = Deferred.fromCoroutine(self.taps.open(JANE, target, TapQuery(**query), outlet))
        tap: TapRelay = self.successResultOf(opening)
        self.addCleanup(tap.stop)
        return tap

    def refused(self, target: TapTarget = WEB, **query: Any) -> tuple[HTTPStatus, str]:
        outlet = Outlet(self.lines.append, self.clock)
        outlet.stopProducing()
        opening = Deferred.fromCoroutine(self.taps.open(JANE, target, TapQuery(**query), outlet))
        error = self.failureResultOf(opening, TapRefused).value
        return error.status, str(error)

    def said(self) -> str:
        self.clock.advance(0)
        return b"".join(self.lines).decode()

    def test_the_api_server_is_asked_about_this_user_and_this_target(self) -> None:
        self.open()
        ((path, review),) = self.api.asked
        self.assertEqual(path, REVIEWS)
        self.assertEqual(
            review["spec"],
            {
                "user": "jane",
                "groups": ["ops"],
                "uid": "u-1",
                "extra": {"scopes": ["a"]},
                "resourceAttributes": WEB.attributes(),
            },
        )

    def test_whoever_may_not_gets_nothing(self) -> None:
        for status in ({"allowed": False}, {}, {"allowed": "true"}, {"allowed": True, "denied": True}, None):
            self.api.status = status
            code, text = self.refused()
            self.assertEqual(code, HTTPStatus.FORBIDDEN)
            self.assertEqual(text, "jane may not watch deployments/tap of tap.meshtx.io in namespace shop")

    def test_a_rule_for_one_name_is_not_enough_for_the_kind(self) -> None:
        self.api.allows = lambda asked: asked.get("name") in ("web", "-")  # as RBAC reads resourceNames
        self.open()
        code, text = self.refused(EVERY)
        self.assertEqual(code, HTTPStatus.FORBIDDEN)
        self.assertEqual(
            text, "jane may not watch deployments/tap of tap.meshtx.io without resourceNames in namespace shop"
        )

    def test_what_there_is_is_told_to_nobody_who_may_not(self) -> None:
        self.api.status = {"allowed": False}
        self.assertEqual(self.refused(TapTarget(SHOP, "deployments", "none"))[0], HTTPStatus.FORBIDDEN)

    def test_trouble_is_not_a_denial(self) -> None:
        for error in (ApiUnavailable("away"), ApiForbidden("not you", 403)):
            self.api.status = error
            self.assertEqual(self.refused()[0], HTTPStatus.SERVICE_UNAVAILABLE)

    def test_what_is_not_known_yet_is_not_said_to_be_missing(self) -> None:
        self.known = False
        for target in (WEB, TapTarget(SHOP, "deployments", "none")):
            self.assertEqual(self.refused(target)[0], HTTPStatus.SERVICE_UNAVAILABLE)

    def test_a_workload_without_pods_is_not_found(self) -> None:
        code, text = self.refused(TapTarget(SHOP, "deployments", "none"))
        self.assertEqual((code, text), (HTTPStatus.NOT_FOUND, "deployments/none: no pods in namespace shop"))

    def test_a_kind_without_pods_is_not_found(self) -> None:
        code, text = self.refused(TapTarget(SHOP, "statefulsets"))
        self.assertEqual((code, text), (HTTPStatus.NOT_FOUND, "statefulsets: no pods in namespace shop"))

    def test_a_workload_that_is_not_meshed_is_said(self) -> None:
        for number, changed in enumerate(({"meshed_by": ""}, {"meshed_by": "other"}, {"live": False}), 1):
            self.put(pod(f"api-{number}", f"10.1.0.{number + 1}", workloads=(f"deployments/api-{number}",), **changed))
            code, text = self.refused(TapTarget(SHOP, "deployments", f"api-{number}"))
            self.assertEqual(code, HTTPStatus.NOT_FOUND)
            self.assertIn("none of 1 pods is meshed", text)

    def test_an_empty_namespace_may_be_waited_for(self) -> None:
        self.open(TapTarget("empty", "tap"))
        self.assertEqual(self.said(), "")

    def test_a_filter_that_makes_no_sense_is_said(self) -> None:
        self.assertEqual(self.refused(peer="web")[0], HTTPStatus.BAD_REQUEST)

    def test_there_are_so_many_taps_and_no_more(self) -> None:
        taps = [self.open(TapTarget(namespace, "tap")) for namespace in [ELSEWHERE, SHOP] * (MAX_TAPS // 2)]
        self.assertEqual(self.registry.get_sample_value("meshtx_tap_api_open"), MAX_TAPS)
        self.assertEqual(self.refused(TapTarget("third", "tap"))[0], HTTPStatus.TOO_MANY_REQUESTS)
        taps[0].stop()
        self.open(TapTarget("third", "tap"))

    def test_one_namespace_has_half_of_them_at_most(self) -> None:
        taps = [self.open() for _ in range(MAX_TAPS // 2)]
        self.assertEqual(self.refused()[0], HTTPStatus.TOO_MANY_REQUESTS)
        self.open(TapTarget(ELSEWHERE, "tap"))
        taps[0].stop()
        self.open()

    def test_only_pods_of_the_target_come_into_the_tap(self) -> None:
        self.open()
        for one in (pod("web-2", "10.1.0.2", workloads=PODS), pod("api-1", "10.1.0.3"), pod("db", "10.1.0.4")):
            self.put(one)
            self.taps.changed(None, one)
        said = self.said()
        self.assertIn('"pod":"web-2"', said)
        self.assertNotIn("api-1", said)

    def test_a_kinds_later_workloads_come_in_and_other_pods_do_not(self) -> None:
        self.open(EVERY)
        for one in (
            pod("api-1", "10.1.0.2", workloads=("replicasets/api-5f", "deployments/api")),
            pod("db-0", "10.1.0.3", workloads=("statefulsets/db",)),
            pod("alone", "10.1.0.4"),
        ):
            self.put(one)
            self.taps.changed(None, one)
        self.assertEqual({json.loads(line)["pod"] for line in self.said().splitlines()}, {"web-1", "api-1"})

    def test_without_a_certificate_of_its_own_the_directory_says_so(self) -> None:
        self.open()
        self.assertIn("the directory has no certificate now", self.said())


class Front:
    """Believes whom a test says."""

    def __init__(self) -> None:
        self.known: User | None = JANE

    def user(self, *_: object) -> User:
        if self.known is None:
            raise Unauthenticated("nobody says who asks")
        return self.known


class Opened:
    def __init__(self) -> None:
        self.stopped = 0

    def stop(self) -> None:
        self.stopped += 1


class Transport(StringTransport):
    def abortConnection(self) -> None:
        self.loseConnection()


class SiteTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.front = Front()
        self.tap = Opened()
        self.outlet: Outlet | None = None
        self.asked: list[tuple[User, TapTarget, TapQuery]] = []
        self.answered: list[HTTPStatus] = []
        self.refusal: Exception | None = None
        front: Any = self.front
        self.site = TapSite(front, self.open, reactor=self.clock, answered=self.answered.append)
        protocol = self.site.buildProtocol(None)
        assert protocol is not None
        self.transport = Transport()
        protocol.makeConnection(self.transport)
        protocol.callLater = self.clock.callLater  # type: ignore[attr-defined]  # of HTTPChannel
        self.protocol: Any = protocol

    async def open(self, user: User, target: TapTarget, query: TapQuery, outlet: Outlet) -> Opened:
        self.asked.append((user, target, query))
        self.outlet = outlet
        if self.refusal is not None:
            raise self.refusal
        return self.tap

    def request(self, path: str, method: str = "GET") -> tuple[int, Object]:
        """Send a request; return the status and the object of the answer, if there is one."""
        self.transport.clear()
        self.protocol.dataReceived(f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
        self.clock.advance(0)
        head, _, body = self.transport.value().partition(b"\r\n\r\n")
        status = int(head.split()[1])
        return status, json.loads(body) if body.startswith(b"{") and body.endswith(b"}") else {}

    def test_whoever_is_not_believed_learns_nothing(self) -> None:
        self.front.known = None
        for path in (WEB.path, PATH, "/apis", "/", "/nothing"):
            status, said = self.request(path)
            self.assertEqual((status, said["reason"], said["kind"]), (401, "Unauthorized", "Status"))
        self.assertEqual(self.asked, [])
        self.assertEqual(self.answered, [401] * 5)

    def test_discovery_says_what_there_is(self) -> None:
        status, said = self.request(PATH)
        self.assertEqual((status, said["kind"]), (200, "APIResourceList"))
        self.assertIn("deployments/tap", [each["name"] for each in said["resources"]])
        self.assertEqual(self.request("/apis")[1]["kind"], "APIGroupList")
        self.assertEqual(self.request("/apis/tap.meshtx.io")[1]["kind"], "APIGroup")

    def test_nothing_else_is_there(self) -> None:
        self.assertEqual(self.request("/openapi/v2")[0], 404)
        self.assertEqual(self.request(WEB.path.replace("deployments", "services"))[0], 404)
        self.assertEqual(self.request(WEB.path, "POST")[0], 405)

    def test_a_tap_is_opened_for_who_asks(self) -> None:
        self.request(f"{WEB.path}?method=GET&path=%2Fapi")
        self.assertEqual(self.asked, [(JANE, WEB, TapQuery(methods=("GET",), path="/api"))])

    def test_its_head_comes_at_once_and_lines_as_they_come(self) -> None:
        self.request(WEB.path)
        self.assertIn(b"200 OK", self.transport.value())
        self.transport.clear()
        assert self.outlet is not None
        self.outlet.add(b'{"pod":"web-1"}')
        self.clock.advance(1)
        self.clock.advance(0)
        self.assertIn(b'{"pod":"web-1"}\n', self.transport.value())

    def test_when_the_user_goes_the_tap_is_stopped(self) -> None:
        self.request(WEB.path)
        self.assertEqual(self.tap.stopped, 0)
        self.protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.tap.stopped, 1)
        self.assertEqual([each for each in self.clock.getDelayedCalls() if each.getTime() < 1e6 and each.active()], [])

    def test_a_refusal_is_a_status_and_leaves_nothing(self) -> None:
        self.refusal = TapRefused(HTTPStatus.FORBIDDEN, "jane may not")
        status, said = self.request(WEB.path)
        self.assertEqual((status, said["message"], said["code"]), (403, "jane may not", 403))
        self.assertEqual((self.tap.stopped, self.answered), (0, [403]))

    def test_a_filter_that_nobody_knows_is_refused(self) -> None:
        status, said = self.request(f"{WEB.path}?paths=/a")
        self.assertEqual((status, said["reason"]), (400, "BadRequest"))
        self.assertIn("'paths' is no filter", said["message"])
        self.assertEqual(self.request(f"{WEB.path}?path=%ff")[0], 400)

    def test_a_defect_is_logged_and_no_tap(self) -> None:
        self.refusal = ZeroDivisionError()
        self.assertEqual(self.request(WEB.path)[0], 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_tap_keeps_its_place_while_others_come(self) -> None:
        self.request(WEB.path)
        (seat,) = self.site.connections.seats
        self.assertNotIn(seat, self.site.connections.idle)

    def test_of_many_requests_that_come_together_one_is_answered(self) -> None:
        self.front.known = None
        self.protocol.dataReceived(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        self.assertEqual((self.answered, self.transport.disconnecting), ([401], True))

    def test_stopped_the_site_ends_its_taps(self) -> None:
        self.request(WEB.path)
        self.site.stop()
        self.assertTrue(self.transport.disconnecting)
