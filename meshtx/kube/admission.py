"""The API server's question and our answer: AdmissionReview, ``admission.k8s.io/v1``.

    {"request": {"uid", "kind", "namespace", "operation", "object", "dryRun", ...}}
    {"response": {"uid", "allowed", "patch" with "patchType" or neither, "warnings", "status"}}

``allowed: false`` refuses the object whatever the webhook's failurePolicy says, so it is for mistakes of its author
alone. What goes wrong with us is no answer: HTTP 500, and that policy decides.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from meshtx.errors import PeerError
from meshtx.kube.json_patch import Json, difference

API_VERSION, KIND = "admission.k8s.io/v1", "AdmissionReview"

MAX_WARNING = 256
"""Characters; the API server cuts longer ones off."""


_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""A DNS label (RFC 1123): it becomes a part of paths in the API, and anybody may send us a question."""


class MalformedReview(PeerError):
    """It is no question that we can answer."""


@dataclass(frozen=True, slots=True)
class Review:
    """A question.

    :param kind: of the object, such as ``Pod``; `group` is empty for the first API.
    :param namespace: of the object, which its own metadata may lack.
    :param dry_run: nothing may come of it but the answer.
    """

    uid: str
    group: str
    kind: str
    namespace: str
    object: Json
    dry_run: bool


def parse(body: bytes) -> Review:
    """Read a question.

    :raises MalformedReview: it is none.
    """
    try:
        review = json.loads(body)
        if (review["apiVersion"], review["kind"]) != (API_VERSION, KIND):
            raise MalformedReview(f"not an {KIND} of {API_VERSION}")
        request = review["request"]
        found = Review(
            uid=request["uid"],
            group=request["kind"]["group"],
            kind=request["kind"]["kind"],
            namespace=request["namespace"],
            object=request["object"],
            dry_run=request.get("dryRun") is True,
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise MalformedReview(f"no {KIND}: {type(error).__name__}") from error
    texts = (found.uid, found.group, found.kind, found.namespace)
    if not all(isinstance(text, str) for text in texts) or not found.uid or not isinstance(found.object, dict):
        raise MalformedReview(f"no {KIND}: a part of the request is of another type")
    if not _NAMESPACE.fullmatch(found.namespace):
        raise MalformedReview(f"no {KIND}: the object is in no namespace")
    return found


def allowed(review: Review, after: Json | None = None, warnings: Sequence[str] = ()) -> bytes:
    """Return the answer that lets the object be, as it is or changed.

    :param after: what it is to become.
    """
    patch = difference(review.object, after) if after is not None else []
    response: Json = {"uid": review.uid, "allowed": True}
    if patch:
        response |= {"patchType": "JSONPatch", "patch": b64encode(_dumped(patch)).decode("ascii")}
    if warnings:
        response["warnings"] = [text[:MAX_WARNING] for text in warnings]
    return _answer(response)


def refused(review: Review, problem: str) -> bytes:
    """Return the answer that the object must not be; its author reads why."""
    status = {"code": HTTPStatus.FORBIDDEN.value, "reason": "Forbidden", "message": problem}
    return _answer({"uid": review.uid, "allowed": False, "status": status})


def _answer(response: Json) -> bytes:
    return _dumped({"apiVersion": API_VERSION, "kind": KIND, "response": response})


def _dumped(value: Any) -> bytes:  # Any: JSON
    return json.dumps(value, separators=(",", ":")).encode("utf-8")
