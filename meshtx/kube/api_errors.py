"""What comes of a request to the Kubernetes API: an object, or an error by who can mend it.

Whatever keeps us from an answer is `ApiUnavailable`, to be tried again: the network, TLS, time, 429, 5xx,
an answer that is no JSON object. `ApiForbidden` is the cluster's permissions, or a token that it does not
know: for who judges others' tokens that is "unavailable" too, never a denial. `ApiRefused` is an answer:
not found, conflict, gone, invalid.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, cast

from OpenSSL import SSL
from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers

from meshtx.errors import MeshtxError

MAX_RETRY_AFTER = 300.0
"""Seconds that a server may make us wait."""

Object = dict[str, Any]
"""A JSON object; Any, because every kind has its own shape, and who reads it judges it."""

Query = Mapping[str, str | int | bool]
"""The parameters behind a path's question mark."""

_FORBIDDEN = (401, 403)


class ApiError(MeshtxError):
    """The API did not do what was asked.

    :param status: of the HTTP answer, ``None`` without one.
    """

    def __init__(self, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.status = status


class ApiUnavailable(ApiError):
    """There is no answer now: try again.

    :param retry_after: seconds that the server asks to wait, ``None`` if it does not say.
    """

    def __init__(self, text: str, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(text, status)
        self.retry_after = retry_after


class ApiTooLong(ApiUnavailable):
    """The answer is longer than is read: ask for less."""


class ApiAnswered(ApiError):
    """The server said no.

    :param reason: the API's word for it, such as ``NotFound``, ``Conflict``, ``Expired``.
    :param message: the API's text.
    """

    def __init__(self, text: str, status: int, reason: str = "", message: str = "") -> None:
        super().__init__(text, status)
        self.reason = reason
        self.message = message


class ApiForbidden(ApiAnswered):
    """401 or 403: the cluster's administrator's to mend."""


class ApiRefused(ApiAnswered):
    """Any other 4xx."""


def object_of(what: str, body: bytes) -> Object:
    """Return the JSON object of an answer.

    :raises ApiUnavailable: it is none: something else than an API server has answered.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ApiUnavailable(f"{what}: the answer is not JSON") from error
    if not isinstance(found, dict):
        raise ApiUnavailable(f"{what}: the answer is not a JSON object")
    return found


def error_of(what: str, status: int, headers: Headers, body: bytes) -> ApiError:
    """Return the error that an answer is (the API's kind Status says more than the number)."""
    try:
        said = object_of(what, body)
    except ApiUnavailable:
        said = {}  # a proxy's page, or none; the number is what counts
    reason, message = str(said.get("reason") or ""), str(said.get("message") or "")[:512]
    text = f"{what}: {status} {reason} {message}".rstrip()
    if status in _FORBIDDEN:
        return ApiForbidden(text, status, reason, message)
    if 400 <= status < 500 and status != 429:
        return ApiRefused(text, status, reason, message)
    return ApiUnavailable(text, status, _retry_after(headers))


def _retry_after(headers: Headers) -> float | None:
    """Return the seconds of Retry-After (RFC 9110, section 10.2.3), of which the API server uses the first form."""
    for value in headers.getRawHeaders("Retry-After", []):
        try:
            seconds = float(value)
        except ValueError:
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return min(seconds, MAX_RETRY_AFTER)
    return None


def _causes(error: BaseException | None) -> list[BaseException | None]:
    """Return the errors within one of Twisted's HTTP client, or the error itself."""
    reasons = cast("list[Failure]", getattr(error, "reasons", []))
    return [cause for reason in reasons for cause in _causes(reason.value)] or [error]


def is_cancelled(error: BaseException) -> bool:
    """Say whether an error of Twisted's HTTP client is what a cancelled request ends in."""
    return any(isinstance(cause, CancelledError) for cause in _causes(error))


def said_by_http(error: BaseException, refused: str | None) -> str:
    """Return a cause in words: OpenSSL's and Twisted's errors often have none.

    :param refused: what is wrong with the server, if TLS is what failed.
    """
    causes = _causes(error)
    if refused and any(isinstance(cause, SSL.Error) for cause in causes):
        return refused
    text = str(causes[0]).strip()
    return text[:512] if text else type(causes[0]).__name__
