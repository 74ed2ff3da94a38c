"""How the checks' snapshot is read of the API."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from meshtx.kube.api_errors import ApiForbidden, ApiRefused, ApiUnavailable
from meshtx.kube.checks.outcomes import Failed, Passed, run
from meshtx.kube.checks.reading import AT_ONCE, Reader
from meshtx.kube.checks.resources import RESOURCES
from meshtx.kube.checks.snapshot import Found, Key, Snapshot, Unread, expected
from meshtx.kube.checks.whole import BEFORE, look
from meshtx.kube.manifests.shapes import ISSUER_SECRET
from meshtx.kube.pages import PAGE
from tests.kube.snapshots import NOW, Json


class FakeApi:
    """Answers as told; what nobody has told is not there.

    :param answers: by path, an object, an error, or what makes one from the query.
    """

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.running = self.most = 0
        self.held: list[Deferred[None]] | None = None

    async def get(self, path: str, **query: Any) -> Json:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if self.held is not None:
                waiting: Deferred[None] = Deferred()
                self.held.append(waiting)
                await waiting
            answer = self.answers.get(path, ApiRefused("not found", 404, "NotFound"))
            answer = answer(query) if callable(answer) else answer
            if isinstance(answer, Exception):
                raise answer
            return answer  # type: ignore[no-any-return]  # Any: JSON
        finally:
            self.running -= 1

    async def post(self, path: str, body: Json, **query: Any) -> Json:
        del body, query
        return await self.get(path)


VERSION = {"major": "1", "minor": "36+", "gitVersion": "v1.36.3"}
REVIEWS = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
ACCESS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
ISSUER = f"/api/v1/namespaces/meshtx/secrets/{ISSUER_SECRET}"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/meshtx/endpointslices"
LISTS: dict[str, Json] = {path: {} for path in ("/api/v1/namespaces", "/api/v1/pods", "/api/v1/services", SLICES)}


class ReadingTests(SynchronousTestCase):
    def reader(self, now: Callable[[], datetime] = lambda: NOW, **answers: Any) -> Reader:
        said = {"status": {"userInfo": {"username": "ann"}}, "metadata": {"creationTimestamp": "2026-08-01T12:00:00Z"}}
        self.api = FakeApi({"/version": VERSION, REVIEWS: said, **LISTS, **answers})
        return Reader(self.api, "https://api", "meshtx", now)

    def read(self, **answers: Any) -> Snapshot:
        return self.successResultOf(ensureDeferred(self.reader(**answers).installed()))

    def test_the_server_and_the_user_are_known(self) -> None:
        server = self.read().server
        self.assertEqual((server.version, server.release, server.user, server.ahead), ((1, 36), "v1.36.3", "ann", 0.0))

    def test_clocks_are_compared_as_exactly_as_whole_seconds_allow(self) -> None:
        for seconds, ahead in ((0.0, 0.0), (0.9, 0.0), (1.5, -0.5), (-90.0, 90.0), (90.0, -89.0)):
            reader = self.reader(now=lambda seconds=seconds: NOW + timedelta(seconds=seconds))
            snapshot = self.successResultOf(ensureDeferred(reader.installed()))
            self.assertEqual(snapshot.server.ahead, ahead, seconds)

    def test_a_server_that_does_not_tell_its_time_is_no_trouble(self) -> None:
        self.assertIsNone(self.read(**{REVIEWS: ApiRefused("no", 404)}).server.ahead)

    def test_no_key_of_a_secret_is_kept(self) -> None:
        secret = {
            "metadata": {"name": ISSUER_SECRET, "annotations": {"last-applied": "KEY"}, "managedFields": ["x"]},
            "data": {"tls.crt": "C", "tls.key": "KEY", "ca.crt": "A", "next-tls.key": "KEY"},
        }
        snapshot = self.read(**{ISSUER: secret})
        found = snapshot.object("Secret", ISSUER_SECRET)
        self.assertEqual(found["data"], {"tls.crt": "C", "ca.crt": "A"})
        self.assertNotIn("KEY", repr(snapshot))

    def test_lists_come_in_pages(self) -> None:
        def pods(query: dict[str, Any]) -> Json:
            self.assertEqual(query["limit"], PAGE)
            if query.get("continue") == "more":
                return {"items": [{"metadata": {"name": "b"}}]}
            return {"items": [{"metadata": {"name": "a", "managedFields": []}}], "metadata": {"continue": "more"}}

        pods_read = self.read(**{"/api/v1/pods": pods}).pods
        self.assertEqual(pods_read, Found([{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}]))

    def test_a_list_whose_pages_have_expired_is_read_anew_once(self) -> None:
        asked = []

        def pods(query: dict[str, Any]) -> Json | Exception:
            asked.append(query.get("continue"))
            if query.get("continue"):
                return ApiRefused("expired", 410, "Expired")
            return {"items": [], "metadata": {"continue": "more" if asked.count(None) < limit else ""}}

        limit = 2
        self.assertEqual(self.read(**{"/api/v1/pods": pods}).pods, Found([]))
        limit = 3
        asked.clear()
        reader = self.reader(**{"/api/v1/pods": pods})
        self.failureResultOf(ensureDeferred(reader.installed()), ApiRefused)

    def test_what_is_forbidden_is_not_known_and_the_right_is_named(self) -> None:
        no = ApiForbidden("no", 403)
        snapshot = self.read(**{ISSUER: no, "/api/v1/pods": no})
        self.assertEqual(snapshot.pods, Unread("the user may not list pods"))
        key = Key("Secret", ISSUER_SECRET, "meshtx")
        self.assertEqual(
            snapshot.objects[key], Unread(f"the user may not get secrets '{ISSUER_SECRET}' in namespace meshtx")
        )

    def test_trouble_is_a_failure_and_no_permission_to_skip(self) -> None:
        for error in (ApiUnavailable("away"), ApiForbidden("who are you", 401), ApiRefused("odd", 400)):
            for path in (ISSUER, "/api/v1/pods", "/version"):
                reader = self.reader(**{path: error})
                report = self.successResultOf(ensureDeferred(look(reader, before=False)))
                (result,) = report.results
                self.assertEqual((result.check.name, type(result.outcome)), ("api-reached", Failed))
                self.assertEqual(report.may_pass, isinstance(error, ApiUnavailable))

    def test_something_else_than_an_api_server_is_told(self) -> None:
        report = self.successResultOf(ensureDeferred(look(self.reader(**{"/version": {"major": "x"}}), before=False)))
        self.assertEqual([each.check.name for each in report.of(Failed)], ["api-reached"])

    def test_few_requests_run_at_once_and_none_is_left_behind(self) -> None:
        reader = self.reader()
        self.api.held = []
        running = ensureDeferred(reader.installed())
        while self.api.running != AT_ONCE:
            self.api.held.pop(0).callback(None)
        self.assertEqual(self.api.most, AT_ONCE)
        self.api.held[0].errback(ApiUnavailable("away"))
        self.failureResultOf(running, ApiUnavailable)
        self.assertEqual(self.api.running, 0)

    def test_an_interrupted_look_asks_no_more(self) -> None:
        reader = self.reader()
        self.api.held = []
        running = ensureDeferred(reader.installed())
        running.addErrback(lambda failure: None)
        while self.api.running != AT_ONCE:
            self.api.held.pop(0).callback(None)
        running.cancel()
        self.assertEqual(self.api.running, 0)

    def test_before_an_installation_each_right_is_asked_for_once(self) -> None:
        allowed = {"status": {"allowed": True}}
        snapshot = self.successResultOf(ensureDeferred(self.reader(**{ACCESS: allowed}).before()))
        self.assertEqual({type(each.outcome) for each in run(BEFORE, snapshot).results}, {Passed})
        self.assertEqual(set(snapshot.rights.values()), {True})

    def test_every_kind_of_the_manifests_can_be_read(self) -> None:
        self.assertEqual({key.kind for key in expected("meshtx")} - set(RESOURCES), set())
