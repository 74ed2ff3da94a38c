"""Requests to the API, and what becomes of each kind of answer."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.logger import globalLogPublisher
from twisted.python.filepath import FilePath
from twisted.web.server import NOT_DONE_YET, Request

from meshtx.kube import api as api_module
from meshtx.kube.api import ApiForbidden, ApiRefused, ApiUnavailable, KubeApi
from meshtx.kube.api_config import ApiConfig
from meshtx.kube.http_body import Whole
from tests.kube.api_case import PODS, ApiCase, hold, status


class TestRequests(ApiCase):
    async def test_a_query_and_an_object_go_there_and_an_object_comes_back(self) -> None:
        self.script.answer = lambda _: b'{"kind":"TokenReview"}'
        answer = await self.api.post(PODS, {"a": "ü"}, dryRun="All", force=True, limit=5)
        [request] = self.script.requests
        self.assertEqual(answer, {"kind": "TokenReview"})
        self.assertEqual((request.method, request.uri), (b"POST", b"/api/v1/pods?dryRun=All&force=true&limit=5"))
        self.assertEqual(json.loads(self.script.bodies[0]), {"a": "ü"})
        self.assertEqual(request.getHeader("content-type"), "application/json")
        self.assertEqual(request.getHeader("authorization"), "Bearer secret-token")
        self.assertEqual(request.getHeader("host"), f"127.0.0.1:{self.server.port}")

    async def test_each_method_is_its_own(self) -> None:
        for made in (self.api.get(PODS), self.api.post(PODS, {})):
            await made
        self.assertEqual([each.method for each in self.script.requests], [b"GET", b"POST"])

    async def test_a_patch_says_of_which_kind_it_is(self) -> None:
        await self.api.patch(PODS, {})
        await self.api.patch(PODS, [{"op": "remove", "path": "/x"}], "json")
        await self.api.patch(PODS, {}, "apply", fieldManager="meshtx")
        self.assertEqual(
            [(each.method, each.getHeader("content-type")) for each in self.script.requests],
            [
                (b"PATCH", "application/merge-patch+json"),
                (b"PATCH", "application/json-patch+json"),
                (b"PATCH", "application/apply-patch+yaml"),
            ],
        )

    async def test_a_path_of_the_servers_url_stays_in_front(self) -> None:
        api = KubeApi(self.reactor, ApiConfig(f"{self.server.url}/k8s/c-1/", self.server.ca.pem))
        self.addCleanup(api.close)
        await api.get(PODS)
        self.assertEqual(self.script.requests[0].uri, b"/k8s/c-1/api/v1/pods")

    async def test_connections_are_used_again(self) -> None:
        for _ in range(3):
            await self.api.get(PODS)
        self.assertEqual(self.server.connections, 1)

    async def test_a_compressed_answer_is_read(self) -> None:
        self.script.answer = status(200, gzip.compress(b'{"a":1}'), content_encoding="gzip")
        self.assertEqual(await self.api.get(PODS), {"a": 1})

    async def test_the_token_file_is_read_again_when_it_changes(self) -> None:
        file = FilePath(self.mktemp())
        api = self.connect(self.server, token_file=Path(file.path))
        for token in (b"one", b"another"):
            file.setContent(token)
            await api.get(PODS)
        self.assertEqual(
            [each.getHeader("authorization") for each in self.script.requests], ["Bearer one", "Bearer another"]
        )
        file.remove()
        self.assertIsInstance(await self.error(api), ApiUnavailable)
        self.assertEqual(len(self.script.requests), 2)

    async def test_without_a_token_none_is_sent(self) -> None:
        await self.connect(self.server).get(PODS)
        self.assertIsNone(self.script.requests[0].getHeader("authorization"))


class TestErrors(ApiCase):
    async def test_statuses_are_sorted_by_who_can_mend_them(self) -> None:
        for code, kind in (
            (400, ApiRefused),
            (401, ApiForbidden),
            (403, ApiForbidden),
            (404, ApiRefused),
            (409, ApiRefused),
            (410, ApiRefused),
            (422, ApiRefused),
            (429, ApiUnavailable),
            (500, ApiUnavailable),
            (503, ApiUnavailable),
            (302, ApiUnavailable),
        ):
            self.script.answer = status(code)
            error = await self.error()
            self.assertEqual((type(error), error.status), (kind, code))

    async def test_the_apis_own_words_are_kept(self) -> None:
        self.script.answer = status(404, b'{"kind":"Status","reason":"NotFound","message":"pods \\"a\\" not found"}')
        error = await self.error()
        self.assertEqual(str(error), f'GET {PODS}: 404 NotFound pods "a" not found')
        assert isinstance(error, ApiRefused)
        self.assertEqual((error.reason, error.message), ("NotFound", 'pods "a" not found'))

    async def test_an_answer_of_somebody_else_is_read_too(self) -> None:
        self.script.answer = status(502, b"<html>bad gateway</html>")
        self.assertEqual(str(await self.error()), f"GET {PODS}: 502")

    async def test_the_server_may_say_how_long_to_wait(self) -> None:
        for said, read in (
            ("7", 7.0),
            ("0.5", 0.5),
            ("100000", 300.0),
            ("-1", None),
            ("nan", None),
            ("inf", None),
            ("Fri, 31 Dec 1999 23:59:59 GMT", None),
        ):
            for code in (429, 503):
                self.script.answer = status(code, retry_after=said)
                error = await self.error()
                assert isinstance(error, ApiUnavailable)
                self.assertEqual(error.retry_after, read, said)

    async def test_what_is_no_json_object_is_no_answer(self) -> None:
        for body in (b"", b"<html>", b"[]", b'"x"', b"[" * 100_000, b"\xff"):
            self.script.answer = status(200, body)
            self.assertIsInstance(await self.error(), ApiUnavailable)

    async def test_an_answer_is_bounded(self) -> None:
        self.patch(api_module, "MAX_BODY", 1000)
        self.script.answer = status(200, json.dumps({"a": "x" * 2000}).encode())
        self.assertEqual(str(await self.error()), f"GET {PODS}: the answer is longer than 1000 bytes")
        self.assertEqual((await self.answered())["a"], 1)

    async def answered(self) -> dict[str, Any]:
        self.script.answer = status(200, b'{"a":1}')
        return await self.api.get(PODS)

    async def test_a_redirect_is_not_followed(self) -> None:
        """It would carry the token to whoever is named there."""
        self.script.answer = status(302, location=f"{self.server.url}/elsewhere")
        await self.error()
        self.assertEqual(len(self.script.requests), 1)

    async def test_a_server_that_is_not_there_is_unavailable(self) -> None:
        await self.server.close()
        self.assertIsInstance(await self.error(), ApiUnavailable)

    async def test_a_server_that_says_nothing_is_unavailable_after_ten_seconds(self) -> None:
        self.script.answer = hold
        asked = ensureDeferred(self.api.get(PODS))
        await self.arrived()
        self.reactor.clock.advance(9.9)
        self.assertNoResult(asked)
        self.reactor.clock.advance(0.1)
        error = self.failureResultOf(asked, ApiUnavailable).value
        self.assertEqual(str(error), f"GET {PODS}: no answer within 10 s")

    async def test_an_answer_that_stops_half_way_is_unavailable_after_ten_seconds(self) -> None:
        def half(request: Request) -> int:
            request.write(b'{"a":')
            return NOT_DONE_YET

        half_received: Deferred[None] = Deferred()

        class Noticed(Whole):
            def receive(self, data: bytes) -> None:
                super().receive(data)
                half_received.callback(None)

        self.patch(api_module, "Whole", Noticed)
        self.script.answer = half
        asked = ensureDeferred(self.api.get(PODS))
        await half_received
        gone = self.script.requests[0].notifyFinish()
        self.reactor.clock.advance(10)
        self.failureResultOf(asked, ApiUnavailable)
        await self.assertFailure(gone, ConnectionLost, ConnectionDone)

    async def test_a_connection_that_is_cut_is_unavailable(self) -> None:
        self.script.answer = hold
        asked = ensureDeferred(self.api.get(PODS))
        await self.arrived()
        self.server.abort()
        await self.assertFailure(asked, ApiUnavailable)

    async def test_who_does_not_want_the_answer_any_more_cancels(self) -> None:
        self.script.answer = hold
        asked = ensureDeferred(self.api.get(PODS))
        await self.arrived()
        asked.cancel()
        await self.assertFailure(asked, CancelledError)

    async def test_the_token_is_in_no_error_and_no_log(self) -> None:
        events: list[object] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        said = []
        for code in (200, 401, 403, 500):
            self.script.answer = status(code, b"no")
            error = await self.error()
            said.append(f"{error!r} {error} {vars(error)} {vars(self.api)}")
        self.assertNotIn("secret", f"{said} {events}")
