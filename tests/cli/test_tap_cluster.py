"""What ``meshtx tap deploy/web`` makes of the API server's answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from meshtx.cli.tap_cluster import ClusterTap
from meshtx.errors import PeerError
from meshtx.kube.api import ApiForbidden, ApiRefused, ApiUnavailable
from meshtx.kube.tap_target import TapTarget
from meshtx.observe.tap_query import TapQuery
from meshtx.pki.name import MeshScope
from meshtx.rpc.messages.tap_pb2 import Flow, Lost, TapEvent

WEB = TapTarget("shop", "deployments", "web")
EVENT = {"flow": {"id": "3", "src": "a"}, "flow_opened": {}}


class Api:
    """Streams what a test says."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.over: Deferred[None] = Deferred()
        self.line: Callable[[bytes], None] = lambda _: None

    def stream(self, path: str, query: Any, on_line: Callable[[bytes], None], *, silence: float) -> Deferred[None]:
        assert silence > 10
        self.asked.append((path, query))
        self.line = on_line
        return self.over

    def close(self) -> Deferred[None]:
        return succeed(None)


class ClusterTapTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.api = Api()
        self.events: list[tuple[str, TapEvent, MeshScope | None]] = []
        self.said: list[str] = []
        api: Any = self.api
        self.tap = ClusterTap(api, WEB, TapQuery(path="/api"), self.on_event, self.said.append)
        self.running = Deferred.fromCoroutine(self.tap.run())

    def on_event(self, pod: str, event: TapEvent, mesh: MeshScope | None) -> None:
        self.events.append((pod, event, mesh))

    def line(self, **said: object) -> None:
        self.api.line(json.dumps({"pod": "web-1", **said}).encode())

    def problem(self, error: Exception) -> str:
        self.api.over.errback(error)
        return str(self.failureResultOf(self.running, PeerError).value)

    def test_the_target_and_its_filters_are_asked_for(self) -> None:
        self.assertEqual(self.api.asked, [(WEB.path, {"path": "/api"})])

    def test_events_are_shown_and_words_are_said(self) -> None:
        self.line(said="the tap is open")
        self.line(event={**EVENT, "of_a_later_version": 1})
        self.assertEqual(self.said, ["web-1: the tap is open"])
        self.assertEqual(self.events[0][0], "web-1")
        self.assertEqual(self.events[0][1].flow, Flow(id=3, src="a"))

    def test_the_mesh_is_the_one_that_the_directory_says(self) -> None:
        self.line(event={"lost": {"count": "7"}})
        self.line(said="the tap is open", mesh="other.example.org")
        self.line(event={"lost": {"count": "7"}})
        lost = TapEvent(lost=Lost(count=7))
        self.assertEqual(self.events, [("web-1", lost, None), ("web-1", lost, MeshScope("other", "example.org"))])

    def test_stopped_it_ends_well(self) -> None:
        self.tap.stop()
        self.assertIs(self.successResultOf(self.running), True)

    def test_the_others_end_is_told(self) -> None:
        self.api.over.callback(None)
        self.assertIs(self.successResultOf(self.running), True)
        self.assertEqual(self.said, ["the directory has ended the tap"])

    def test_the_users_end_is_his(self) -> None:
        self.running.cancel()
        self.failureResultOf(self.running, CancelledError)

    def test_what_is_said_is_printed_escaped(self) -> None:
        self.line(pod="a\nb", said="c\x1b")
        self.assertNotIn("\n", self.said[0])
        self.assertNotIn("\x1b", self.said[0])

    def test_nonsense_is_an_error(self) -> None:
        for line in (
            b"x",
            b"[]",
            b"3",
            b"{}",
            b'{"pod":"a","event":3}',
            b'{"pod":"a","event":{"flow":3}}',
            b'{"pod":"a","mesh":"x"}',
        ):
            self.assertRaises(PeerError, self.api.line, line)

    def test_who_may_not_is_told_what_is_missing_and_who_has_it(self) -> None:
        text = self.problem(ApiForbidden("GET x: 403", 403, "Forbidden", "jane cannot watch"))
        self.assertEqual(
            text,
            "jane cannot watch; this takes 'watch' on deployments/tap of tap.meshtx.io: ask for the ClusterRole"
            " meshtx-tap in namespace shop",
        )

    def test_whom_the_cluster_does_not_know_logs_in(self) -> None:
        self.assertIn("log in to it anew", self.problem(ApiForbidden("GET x: 401", 401, "Unauthorized", "")))

    def test_an_answer_of_the_directorys_stands_as_it_is(self) -> None:
        message = "deployments/web: no pods in namespace shop"
        self.assertEqual(self.problem(ApiRefused("GET x: 404", 404, "NotFound", message)), message)

    def test_without_the_api_its_installation_is_named(self) -> None:
        self.assertIn("meshtx install", self.problem(ApiRefused("GET x: 404", 404)))

    def test_an_api_that_is_away_is_looked_at_by_kubectl(self) -> None:
        text = self.problem(ApiUnavailable("GET x: 503 ServiceUnavailable", 503))
        self.assertIn("kubectl get apiservice v1alpha1.tap.meshtx.io", text)
