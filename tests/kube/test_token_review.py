"""What the API server says of a token, and what is made of it."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from meshtx.errors import PeerError
from meshtx.identity.validator import TokenMalformed, TokenRejected, ValidatorUnavailable
from meshtx.interfaces import ITokenValidator
from meshtx.kube.api import ApiForbidden, ApiRefused, ApiUnavailable
from meshtx.kube.token_review import ATTEMPTS, BUDGET, PATH, PAUSE, TIMEOUT, TokenReviewValidator
from meshtx.pki.name import MeshScope, Name
from tests.kube.answering_api import AnsweringApi

SCOPE = MeshScope()
TOKEN = b"eyJ.payload.signature"
EXTRA = {
    "authentication.kubernetes.io/pod-name": ["web-1"],
    "authentication.kubernetes.io/pod-uid": ["0cfb-uid"],
    "authentication.kubernetes.io/node-name": ["node"],
}
USER = {"username": "system:serviceaccount:shop:web", "uid": "a-uid", "groups": ["x"], "extra": EXTRA}
STATUS: dict[str, Any] = {"authenticated": True, "user": USER, "audiences": ["identity.l5d.io"]}
AWAY = ApiUnavailable("POST: connection refused")


def yes(**changed: Any) -> dict[str, Any]:
    return {"kind": "TokenReview", "spec": {"token": "eyJ.payload.signature"}, "status": STATUS | changed}


class TokenReviewCase(SynchronousTestCase):
    def ask(self, *answers: Any, token: bytes = TOKEN, require_pod: bool = True) -> Deferred[Name]:
        self.clock = Clock()
        self.api = AnsweringApi(*answers)
        self.validator = TokenReviewValidator(
            self.api,  # type: ignore[arg-type]  # a stand-in
            self.clock,
            require_pod=require_pod,
            jitter=lambda: 0.5,
        )
        return self.validator.validate(token, SCOPE, 0.0)

    def refused(self, *answers: Any, kind: type[Exception] = TokenRejected, **options: Any) -> str:
        return str(self.failureResultOf(self.ask(*answers, **options), kind).value)


class Judged(TokenReviewCase):
    def test_it_is_a_validator(self) -> None:
        self.ask(yes())
        verifyObject(ITokenValidator, self.validator)

    def test_the_account_is_the_name_and_the_pod_is_logged(self) -> None:
        with capturedLogs() as events:
            asked = self.ask(yes(), token=TOKEN + b"\n")
        self.assertEqual(self.successResultOf(asked), SCOPE.name("shop", "web"))
        spec = {"token": "eyJ.payload.signature", "audiences": ["identity.l5d.io"]}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
        self.assertEqual(self.api.asked, [("POST", PATH, body)])
        said = "the token of web.shop.serviceaccount.identity.meshtx.cluster.local is bound to pod web-1, uid 0cfb-uid"
        self.assertEqual([formatEvent(event) for event in events], [said])

    def test_a_rejection_is_in_the_servers_words(self) -> None:
        for status, said in (
            ({"error": "[invalid bearer token, token has expired]"}, "[invalid bearer token, token has expired]"),
            ({}, "it is not authenticated"),
            ({"authenticated": False}, "it is not authenticated"),
            ({"authenticated": True, "error": "odd", "user": USER, "audiences": ["identity.l5d.io"]}, "odd"),
        ):
            self.assertEqual(self.refused({"status": status}), f"the API server rejects the token: {said}")

    def test_a_rejection_never_quotes_the_token_and_is_one_short_line(self) -> None:
        said = self.refused({"status": {"error": f"bad\n{TOKEN.decode()}\x1b[0m" + "x" * 9000}})
        self.assertTrue(said.startswith("the API server rejects the token: bad (the token) [0mxxx"), said)
        self.assertLess(len(said), 300)

    def test_a_server_that_does_not_confirm_our_audience_has_not_said_yes(self) -> None:
        said = "the API server does not say that the token is for 'identity.l5d.io'"
        for audiences in (None, [], ["https://kubernetes.default.svc"], "identity.l5d.io", ["identity.l5d.io.evil"]):
            self.assertEqual(self.refused(yes(audiences=audiences)), said)
        self.assertEqual(len(self.api.asked), 1)

    def test_a_token_of_no_pod_is_rejected_unless_the_configuration_takes_it(self) -> None:
        for extra in (
            None,
            {},
            [],
            {"authentication.kubernetes.io/pod-name": ["web-1"]},
            {"authentication.kubernetes.io/pod-uid": []},
            {"authentication.kubernetes.io/pod-uid": [""]},
            {"authentication.kubernetes.io/pod-uid": ["a", "b"]},
            {"authentication.kubernetes.io/pod-uid": "a"},
            {"authentication.kubernetes.io/pod-uid": [7]},
        ):
            answer = yes(user=USER | {"extra": extra})
            self.assertEqual(self.refused(answer), "the token is not bound to a pod")
            self.assertEqual(self.successResultOf(self.ask(answer, require_pod=False)), SCOPE.name("shop", "web"))

    def test_who_is_no_service_account_is_malformed(self) -> None:
        for username in (None, "", "admin", "system:node:a", "system:serviceaccount:shop:web.v2", 7):
            self.assertIn("subject", self.refused(yes(user=USER | {"username": username}), kind=TokenMalformed))

    def test_what_is_no_token_is_not_asked_about(self) -> None:
        for token in (b"", b"\n", b"\xff", b"a b", b"a\nb", b"a\x00b", b"a" * 16385):
            self.refused(yes(), kind=TokenMalformed, token=token)
            self.assertEqual(self.api.asked, [])


class Unavailable(TokenReviewCase):
    """Trouble is never a rejection."""

    def unavailable(self, *answers: Any) -> str:
        return self.refused(*answers, kind=ValidatorUnavailable)

    def test_a_malformed_answer(self) -> None:
        for answer in ({}, {"status": None}, {"status": []}, {"status": {"authenticated": "true"}}):
            said = "the token cannot be judged: the API server's answer is no TokenReview"
            self.assertEqual(self.unavailable(answer), said)
        said = "the token cannot be judged: the API server's answer names no user"
        self.assertEqual(self.unavailable(yes(user=None)), said)

    def test_permission_denied_names_the_rule_and_is_not_tried_again(self) -> None:
        said = self.unavailable(ApiForbidden("POST: 403", 403, "Forbidden", "tokenreviews is forbidden"))
        rule = (
            "this service account may not create tokenreviews.authentication.k8s.io: "
            "bind it to the roles of 'meshtx install'"
        )
        self.assertEqual(said, f"the token cannot be judged: {rule}")
        self.assertEqual(len(self.api.asked), 1)

    def test_our_own_token_is_not_taken(self) -> None:
        said = self.unavailable(ApiForbidden("POST: 401", 401, "Unauthorized", "Unauthorized"))
        self.assertEqual(said, "the token cannot be judged: the API server does not take our own token")

    def test_each_trouble_is_tried_again_a_few_times(self) -> None:
        for error in (AWAY, ApiUnavailable("POST: 503", 503), ApiRefused("POST: 404", 404, "NotFound", "not found")):
            asked = self.ask(error, error, error, yes())
            self.assertNoResult(asked)
            self.clock.pump([PAUSE, 2 * PAUSE])
            self.failureResultOf(asked, ValidatorUnavailable)
            self.assertEqual(len(self.api.asked), ATTEMPTS)

    def test_the_second_answer_counts(self) -> None:
        asked = self.ask(AWAY, yes())
        self.clock.advance(PAUSE)
        self.assertEqual(self.successResultOf(asked), SCOPE.name("shop", "web"))

    def test_the_server_says_how_long_to_wait(self) -> None:
        asked = self.ask(ApiUnavailable("POST: 429", 429, retry_after=2.0), yes())
        self.clock.advance(1.9)
        self.assertNoResult(asked)
        self.clock.advance(0.1)
        self.successResultOf(asked)

    def test_longer_than_the_caller_has_is_not_waited(self) -> None:
        self.unavailable(ApiUnavailable("POST: 429", 429, retry_after=BUDGET - TIMEOUT + 0.1))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_token_is_not_quoted(self) -> None:
        asked = self.ask(*[ApiRefused("x", 400, "BadRequest", f"bad: {TOKEN.decode()}")] * ATTEMPTS)
        self.clock.pump([PAUSE, 2 * PAUSE])
        said = str(self.failureResultOf(asked, ValidatorUnavailable).value)
        self.assertEqual(said, "the token cannot be judged: bad: (the token)")

    def test_who_is_gone_ends_the_asking(self) -> None:
        for asked in (self.ask(), self.ask(AWAY)):
            asked.cancel()
            self.failureResultOf(asked, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_trouble_is_a_rejection(self) -> None:
        self.assertFalse(issubclass(ValidatorUnavailable, PeerError))
