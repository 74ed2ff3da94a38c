"""What the passive HTTP observers report, and what of a message they keep.

Of a message's fields only `KEPT` is reported: nothing that may hold a credential, a cookie or a
user's data leaves an observer. For the same reason a path is reported without its query, an
authority without its user part; Linkerd's tap prints no query either.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

Fields = tuple[tuple[str, str], ...]

KEPT = {b"content-type": "content-type", b"user-agent": "user-agent", b"x-request-id": "x-request-id"}
"""The fields that are reported, by their lower-cased names on the wire."""

MAX_TEXT = 1024
"""Characters of a path, an authority or a value; what is longer is reported cut."""
MAX_HEAD = 2**16
"""Bytes of the head of one message, or of one HTTP/2 header block."""


@dataclass(frozen=True, slots=True)
class RequestHead:
    """The head of a request is complete.

    :param index: counts the requests of the connection, from 0.
    :param authority: of an absolute target or ``:authority``, else of the Host field; may be empty.
    :param path: without the query; ``*`` for the whole server, empty for CONNECT.
    """

    index: int
    method: str
    authority: str
    path: str
    headers: Fields = ()


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """The head of the final answer to request `index`; interim answers (1xx but 101) are not reported."""

    index: int
    status: int
    headers: Fields = ()


@dataclass(frozen=True, slots=True)
class ResponseEnd:
    """The answer to request `index` is over; without a `ResponseHead` before it there was none.

    :param length: bytes of the body that passed, without framing and padding.
    :param grpc_status: from the trailers or from a head without a body (HTTP/2).
    :param reset: the HTTP/2 error code, or -1 where the connection ended before the answer did.
    """

    index: int
    length: int
    grpc_status: int | None = None
    reset: int | None = None


@dataclass(frozen=True, slots=True)
class Upgraded:
    """The connection speaks another protocol from here on; nothing comes after it."""

    index: int


@dataclass(frozen=True, slots=True)
class GaveUp:
    """The bytes are not what the observer reads, or a bound was reached; nothing comes after it.

    :param reason: one of our own phrases; never a word of the peer's.
    """

    reason: str


Event = RequestHead | ResponseHead | ResponseEnd | Upgraded | GaveUp


def text(value: bytes) -> str:
    r"""Return a value of the wire as text, cut to `MAX_TEXT`; what is no UTF-8 as ``\xNN``.

    Control characters stay what they are: whoever prints it escapes them.
    """
    return value[:MAX_TEXT].decode("utf-8", "backslashreplace")[:MAX_TEXT]


def kept(pairs: Iterable[tuple[bytes, bytes]]) -> Fields:
    """Return those of the fields (lower-cased names) that are reported."""
    return tuple((KEPT[name], text(value)) for name, value in pairs if name in KEPT)


def authority_text(value: bytes) -> str:
    """Return an authority without its user part, which may hold a password."""
    return text(value.rpartition(b"@")[2])


def path_text(target: bytes) -> str:
    """Return the path of a target in origin form, without the query."""
    return text(target.partition(b"?")[0].partition(b"#")[0])
