"""Questions of the API server are read, and answered in the form that it insists on."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from meshtx.kube.admission import MalformedReview, Review, allowed, parse, refused

POD = {"metadata": {"generateName": "web-"}, "spec": {"containers": []}}
REVIEW = Review("u-1", "", "Pod", "emojivoto", POD, dry_run=False)


def question(**request: Any) -> bytes:
    given = {
        "uid": "u-1",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "namespace": "emojivoto",
        "operation": "CREATE",
        "object": POD,
        **request,
    }
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": given}).encode()


class ParseTests(SynchronousTestCase):
    def test_a_question(self) -> None:
        self.assertEqual(parse(question()), REVIEW)
        self.assertTrue(parse(question(dryRun=True)).dry_run)

    def test_what_is_none(self) -> None:
        for body in (
            b"",
            b"[]",
            b"null",
            b"{}",
            b"[" * 100_000,
            b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}',
            question().replace(b"k8s.io/v1", b"k8s.io/v1beta1"),
            question(uid=""),
            question(uid=7),
            question(kind="Pod"),
            question(namespace=None),
            question(namespace="../../api/v1/secrets"),
            question(namespace="a?b"),
            question(namespace="x" * 64),
            question(object=None),
            question(object=[]),
        ):
            self.assertRaises(MalformedReview, parse, body)

    @given(st.binary(max_size=60))
    def test_garbage_is_none_either(self, body: bytes) -> None:
        self.assertRaises(MalformedReview, parse, body)


class AnswerTests(SynchronousTestCase):
    def response(self, answer: bytes) -> dict[str, Any]:
        review = json.loads(answer)
        self.assertEqual(
            (review["apiVersion"], review["kind"], review["response"]["uid"]),
            ("admission.k8s.io/v1", "AdmissionReview", "u-1"),
        )
        found: dict[str, Any] = review["response"]
        return found

    def test_a_change_is_a_patch_with_its_type(self) -> None:
        response = self.response(allowed(REVIEW, {**POD, "status": {}}, ["look"]))
        patch = json.loads(b64decode(response.pop("patch")))
        self.assertEqual(patch, [{"op": "add", "path": "/status", "value": {}}])
        self.assertEqual(response, {"uid": "u-1", "allowed": True, "patchType": "JSONPatch", "warnings": ["look"]})

    def test_no_change_is_neither(self) -> None:
        for answer in (allowed(REVIEW), allowed(REVIEW, POD)):
            self.assertEqual(self.response(answer), {"uid": "u-1", "allowed": True})

    def test_a_long_warning_is_cut_by_us_and_not_with_those_behind_it(self) -> None:
        self.assertEqual(self.response(allowed(REVIEW, warnings=["x" * 300, "y"]))["warnings"], ["x" * 256, "y"])

    def test_a_refusal_says_why(self) -> None:
        self.assertEqual(
            self.response(refused(REVIEW, "no")),
            {"uid": "u-1", "allowed": False, "status": {"code": 403, "reason": "Forbidden", "message": "no"}},
        )
