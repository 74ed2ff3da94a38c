"""Header blocks of gRPC over HTTP/2, made and judged.

https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, "Requests" and "Responses".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil

from meshtx.rpc.status import RpcError, Status, encode_text

Headers = list[tuple[str, str]]

_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_NOT_GRPC = b"This port speaks gRPC only.\n"
_CONTENT_TYPE = re.compile(r"application/grpc(\+proto)?\s*(;.*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class NotGrpc:
    """The request is not gRPC at all: answered in HTTP's terms.

    :param body: empty where the answer has none, as to HEAD.
    """

    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class RequestHead:
    """The head of a call.

    :param timeout: seconds that the caller gives it, ``None`` for no limit.
    """

    path: str
    timeout: float | None


def parse_request(headers: Iterable[tuple[str, str]]) -> RequestHead | NotGrpc | RpcError:
    """Judge the header block that opens a stream."""
    fields = dict(headers)
    method = fields.get(":method")
    if method != "POST":
        return _not_grpc("405", ("allow", "POST"), has_body=method != "HEAD")
    if not _CONTENT_TYPE.fullmatch(fields.get("content-type", "")):
        return _not_grpc("415", ("accept", "application/grpc"))
    timeout = fields.get("grpc-timeout")
    try:
        return RequestHead(fields.get(":path", ""), None if timeout is None else parse_timeout(timeout))
    except ValueError:
        return RpcError(Status.INTERNAL, "malformed grpc-timeout")


def _not_grpc(status: str, field: tuple[str, str], *, has_body: bool = True) -> NotGrpc:
    about = [("content-type", "text/plain"), ("content-length", str(len(_NOT_GRPC)))]
    return NotGrpc([(":status", status), field, *about], _NOT_GRPC if has_body else b"")


def request_headers(path: str, scheme: str, authority: str, timeout: float | None) -> Headers:
    """Return the header block that opens a call."""
    headers = [
        (":method", "POST"),
        (":scheme", scheme),
        (":path", path),
        (":authority", authority),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ]
    return headers if timeout is None else [*headers, ("grpc-timeout", format_timeout(timeout))]


def response_headers() -> Headers:
    """Return the header block that opens an answer with messages."""
    return [(":status", "200"), ("content-type", "application/grpc"), ("grpc-accept-encoding", "identity")]


def trailers(status: Status, message: str) -> Headers:
    """Return the header block that ends an answer; behind `response_headers` where nothing else came."""
    ending = [("grpc-status", str(int(status)))]
    return [*ending, ("grpc-message", encode_text(message))] if message else ending


def parse_timeout(text: str) -> float:
    """Return the seconds of a ``grpc-timeout``.

    :raises ValueError: it is not 1-8 digits and a unit.
    """
    match = _TIMEOUT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no timeout")
    return int(match[1]) * _UNITS[match[2]]


def format_timeout(seconds: float) -> str:
    """Return the finest ``grpc-timeout`` that holds this many seconds, rounded up; at most 99,999,999 hours."""
    for unit in "num":
        if (count := ceil(max(seconds, 0.0) / _UNITS[unit])) < 10**8:
            return f"{count}{unit}"
    for unit in "SM":
        if (count := ceil(seconds / _UNITS[unit])) < 10**8:
            return f"{count}{unit}"
    return f"{min(ceil(seconds / _UNITS['H']), 10**8 - 1)}H"
