"""Tokens of a cluster's pods, judged by its API server: TokenReview (``authentication.k8s.io/v1``).

The server is asked whether the token is good and for us, and is believed only where it says both:

    authenticated  true, no error     else the token is rejected, in the server's words
    audiences      has ours           a server that does not know of audiences leaves it out: rejected
    user           system:serviceaccount:NAMESPACE:ACCOUNT, and the uid of a pod, to which the token is bound

So a token is worth nothing once its pod is gone. Whatever keeps the server from answering, permissions included, is
"unavailable" and never a rejection; it is asked again while the caller has time. Tokens are neither logged nor quoted.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.plugin import IPlugin
from zope.interface import implementer

from meshtx.identity.token_claims import AUDIENCE, check_length, name_of
from meshtx.identity.validator import TokenMalformed, TokenRejected, ValidatorUnavailable
from meshtx.interfaces import ITokenValidator
from meshtx.kube.api import ApiAnswered, ApiError, ApiForbidden, ApiUnavailable, KubeApi, Object
from meshtx.kube.self_check import Rule
from meshtx.pki.name import MeshScope, Name

PATH = "/apis/authentication.k8s.io/v1/tokenreviews"

NEEDED = Rule("create", "tokenreviews", group="authentication.k8s.io")
"""What the validator's service account must be allowed."""

ATTEMPTS = 3
"""For one token."""
TIMEOUT = 2.5
"""Seconds for one of them: what `api` is to be made with."""
BUDGET = 9.5
"""Seconds for all of them: `meshtx.identity.service.TIMEOUT` is 10."""
PAUSE = 0.3
"""Seconds before the second attempt, twice that before the third, each by up to a half more or less."""

MAX_SAID = 256
"""Characters of what the server says of a token."""

_EXTRA = "authentication.kubernetes.io/"


@dataclass(frozen=True, slots=True)
class Pod:
    """The pod to which a token is bound."""

    name: str
    uid: str


@implementer(ITokenValidator, IPlugin)
class TokenReviewValidator:
    """Judges tokens by asking the API server.

    :param require_pod: take only tokens that are bound to a pod, and so end with it.
    :param jitter: a number in [0, 1), drawn anew each time.
    """

    name = "kubernetes"
    log = Logger()

    def __init__(
        self,
        api: KubeApi,
        clock: IReactorTime,
        *,
        require_pod: bool = True,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._api = api
        self._clock = clock
        self._require_pod = require_pod
        self._jitter = jitter

    def validate(self, token: bytes, scope: MeshScope, now: float) -> Deferred[Name]:  # noqa: ARG002  # the server has a clock
        """See `ITokenValidator.validate`."""
        return Deferred.fromCoroutine(self._validate(token, scope))

    async def _validate(self, token: bytes, scope: MeshScope) -> Name:
        text = _text(token)
        answer = await self._ask(text)
        user = _user(_status(answer), text)
        name = name_of(user.get("username"), scope)
        pod = _pod(user.get("extra"))
        if pod is None and self._require_pod:
            raise TokenRejected("the token is not bound to a pod")
        if pod is not None:
            self.log.info("the token of {name} is bound to pod {pod}, uid {uid}", name=name, pod=pod.name, uid=pod.uid)
        return name

    async def _ask(self, token: str) -> Object:
        """Return the server's answer, asking again where there is none.

        :raises ValidatorUnavailable: there is none in time.
        """
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [AUDIENCE]},
        }
        deadline = self._clock.seconds() + BUDGET
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._api.post(PATH, body)
            except ApiForbidden as error:
                said = NEEDED.missing if error.status == 403 else "the API server does not take our own token"
                raise ValidatorUnavailable(f"the token cannot be judged: {said}") from error
            except ApiError as error:
                pause = self._pause(error, attempt)
                if attempt == ATTEMPTS or self._clock.seconds() + pause + TIMEOUT > deadline:
                    raise _unavailable(error, token) from error
                await deferLater(self._clock, pause)
        raise AssertionError("the last attempt returns or raises")

    def _pause(self, error: ApiError, attempt: int) -> float:
        """Return the seconds until the next attempt: as many as the server asks for, if it does."""
        if isinstance(error, ApiUnavailable) and error.retry_after is not None:
            return error.retry_after
        return PAUSE * attempt * (0.5 + self._jitter())


def _text(token: bytes) -> str:
    """Return a token that may be asked about: what else there is in a file is cut off, as a line feed."""
    check_length(token)
    try:
        text = token.rstrip(b"\r\n").decode("ascii")
    except UnicodeDecodeError:
        text = ""
    if not text or not text.isprintable() or " " in text:
        raise TokenMalformed("the token is no token: it has other characters than those of a JWT")
    return text


def _unavailable(error: ApiError, token: str) -> ValidatorUnavailable:
    said = error.message if isinstance(error, ApiAnswered) else str(error)
    return ValidatorUnavailable(f"the token cannot be judged: {_quoted(said, token)}")


def _status(answer: Object) -> dict[str, Any]:
    status = answer.get("status")
    if not isinstance(status, dict) or not isinstance(status.get("authenticated", False), bool):
        raise ValidatorUnavailable("the token cannot be judged: the API server's answer is no TokenReview")
    return status


def _user(status: dict[str, Any], token: str) -> dict[str, Any]:
    """Return who the token is, of a yes that is one for us."""
    error = status.get("error")
    if not status.get("authenticated", False) or error:
        said = _quoted(error, token) if isinstance(error, str) and error else "it is not authenticated"
        raise TokenRejected(f"the API server rejects the token: {said}")
    audiences = status.get("audiences")
    if not isinstance(audiences, list) or AUDIENCE not in audiences:
        raise TokenRejected(f"the API server does not say that the token is for {AUDIENCE!r}")
    user = status.get("user")
    if not isinstance(user, dict):
        raise ValidatorUnavailable("the token cannot be judged: the API server's answer names no user")
    return user


def _pod(extra: object) -> Pod | None:
    name, uid = _only(extra, "pod-name"), _only(extra, "pod-uid")
    return Pod(name or "unnamed", uid) if uid else None


def _only(extra: object, key: str) -> str | None:
    values = extra.get(_EXTRA + key) if isinstance(extra, dict) else None
    return values[0] if isinstance(values, list) and len(values) == 1 and isinstance(values[0], str) else None


def _quoted(said: str, token: str) -> str:
    """Return what the server says, in one line and without the token, should it quote it."""
    line = "".join(each if each.isprintable() else " " for each in said.replace(token, "(the token)"))
    return line[:MAX_SAID]
