"""What a program is told when the cluster does not let it work, and when it is tried again."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from meshtx.kube.api import ApiUnavailable
from meshtx.kube.self_check import PATH, Rule, SelfCheck
from tests.kube.answering_api import AnsweringApi

REVIEWS = Rule("create", "tokenreviews", group="authentication.k8s.io")
ANCHORS = Rule("get", "configmaps", namespace="meshtx", name="meshtx-trust-roots")
YES, NO = {"status": {"allowed": True}}, {"status": {"allowed": False, "reason": "no RBAC policy matched"}}


class RuleTests(SynchronousTestCase):
    def test_it_is_said_as_kubectl_says_it(self) -> None:
        self.assertEqual(str(REVIEWS), "create tokenreviews.authentication.k8s.io")
        self.assertEqual(str(ANCHORS), "get configmaps 'meshtx-trust-roots' in namespace meshtx")

    def test_it_is_asked_for_by_its_parts(self) -> None:
        parts = {"verb": "get", "resource": "configmaps", "namespace": "meshtx", "name": "meshtx-trust-roots"}
        self.assertEqual(ANCHORS.attributes(), parts)
        log = Rule("get", "pods/log")
        self.assertEqual(log.attributes(), {"verb": "get", "resource": "pods", "subresource": "log"})


class SelfCheckTests(SynchronousTestCase):
    def start(self, *answers: Any, rules: tuple[Rule, ...] = (REVIEWS, ANCHORS)) -> list[str]:
        """Start it; return what it says."""
        self.clock = Clock()
        self.api = AnsweringApi(*answers)
        self.check = SelfCheck(self.api, rules, self.clock, jitter=lambda: 0.5)  # type: ignore[arg-type]  # a stand-in
        with capturedLogs() as events:
            self.check.startService()
        self.addCleanup(self.check.stopService)
        return [formatEvent(event) for event in events]

    def later(self, seconds: float) -> list[str]:
        with capturedLogs() as events:
            self.clock.advance(seconds)
        return [formatEvent(event) for event in events]

    def test_until_it_has_asked_it_is_not_ready(self) -> None:
        self.start()
        self.assertEqual(self.check.ready_reason(), "its permissions are not checked yet")

    def test_all_is_allowed(self) -> None:
        said = self.start(YES, YES)
        self.assertIsNone(self.check.ready_reason())
        self.assertEqual(said, [f"the cluster allows what this program needs: {REVIEWS}; {ANCHORS}"])
        asked = [(path, body["spec"]["resourceAttributes"]) for _, path, body in self.api.asked]
        self.assertEqual(asked, [(PATH, REVIEWS.attributes()), (PATH, ANCHORS.attributes())])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_missing_rule_is_named_and_asked_for_again(self) -> None:
        said = self.start(NO, YES, NO, YES, YES, YES)
        reason = (
            "this service account may not create tokenreviews.authentication.k8s.io: "
            "bind it to the roles of 'meshtx install'"
        )
        self.assertEqual((self.check.ready_reason(), said), (reason, [f"not ready: {reason}"]))
        self.assertEqual(self.later(1.0), [])
        self.assertEqual(self.check.ready_reason(), reason)
        self.assertEqual(len(self.later(2.0)), 1)
        self.assertIsNone(self.check.ready_reason())

    def test_a_server_that_is_away_is_asked_again_more_and_more_seldom(self) -> None:
        self.start(*[ApiUnavailable("POST: connection refused")] * 9)
        reason = "the API server does not say what is allowed: POST: connection refused"
        for pause in (1, 2, 4, 8, 16, 30, 30):
            self.assertEqual(self.check.ready_reason(), reason)
            before = len(self.api.asked)
            self.later(pause - 0.01)
            self.assertEqual(len(self.api.asked), before)
            self.later(0.01)
            self.assertEqual(len(self.api.asked), before + 1)

    def test_an_odd_answer_is_no_leave(self) -> None:
        for answer in ({}, {"status": None}, {"status": {}}, {"status": {"allowed": "true"}}):
            self.start(answer, rules=(REVIEWS,))
            self.assertIn("may not create tokenreviews", self.check.ready_reason() or "")

    def test_it_stops_while_it_asks_and_while_it_waits(self) -> None:
        self.start()
        self.check.stopService()
        self.start(NO, rules=(REVIEWS,))
        self.check.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])
