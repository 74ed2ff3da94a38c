"""What the passive HTTP observers report, and what of a message they keep.

Of a message's fields only `KEPT` is reported: nothing that may hold a credential, a cookie or a
user's data leaves an observer. For the same reason a path is reported without its query, an
authority without its user part; Linkerd's tap prints no query either.

Heads and ends come with every request, while hardly anybody looks at one: so they are not frozen,
which would cost more than making them, and what a head says is decoded only when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

Fields = tuple[tuple[str, str], ...]
Pairs = list[tuple[bytes, bytes]]
"""Fields as they were on the wire, but for the case of their names."""

KEPT = {b"content-type": "content-type", b"user-agent": "user-agent", b"x-request-id": "x-request-id"}
"""The fields that are reported, by their lower-cased names on the wire."""

MAX_TEXT = 1024
"""Characters of a path, an authority or a value; what is longer is reported cut."""
MAX_HEAD = 2**16
"""Bytes of the head of one message, or of one HTTP/2 header block."""


@dataclass(frozen=True, slots=True)
class RequestText:
    """What the head of a request says.

    :param authority: of an absolute target or ``:authority``, else of the Host field; may be empty.
    :param path: without the query; ``*`` for the whole server, empty for CONNECT.
    """

    method: str
    authority: str
    path: str
    headers: Fields = ()


@dataclass(slots=True, eq=False)
class RequestHead:
    """The head of a request is complete.

    :param id: counts the requests of the connection, from 0.
    :param read: returns what it says.
    """

    id: int
    read: Callable[[], RequestText]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RequestHead) and (self.id, self.read()) == (other.id, other.read())

    __hash__ = None  # type: ignore[assignment]  # as of any value that is not frozen

    def __repr__(self) -> str:
        return f"RequestHead({self.id}, {self.read()})"


@dataclass(slots=True, eq=False)
class ResponseHead:
    """The head of the final answer to request `id`; interim answers (1xx but 101) are not reported.

    :param read: returns its fields.
    """

    id: int
    status: int
    read: Callable[[], Fields] = tuple

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ResponseHead):
            return NotImplemented
        return (self.id, self.status, self.read()) == (other.id, other.status, other.read())

    __hash__ = None  # type: ignore[assignment]  # as of any value that is not frozen

    def __repr__(self) -> str:
        return f"ResponseHead({self.id}, {self.status}, {self.read()})"


@dataclass(slots=True)
class ResponseEnd:
    """The answer to request `id` is over; without a head before it there was none.

    :param length: bytes of the body that passed, without framing and padding.
    :param grpc_status: from the trailers or from a head without a body (HTTP/2), where there is one.
    :param reset: the HTTP/2 error code, or -1 where the connection ended before the answer did.
    """

    id: int
    length: int
    grpc_status: int | None = None
    reset: int | None = None


@dataclass(frozen=True, slots=True)
class Upgraded:
    """The connection speaks another protocol from here on; nothing comes after it."""

    id: int


@dataclass(frozen=True, slots=True)
class GaveUp:
    """The bytes are not what the observer reads, or a bound was reached; nothing comes after it.

    :param reason: one of our own phrases; never a word of the peer's.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class TooCostly(GaveUp):
    """Reading on would cost more than the connection may (`meshtx.wire.work`)."""


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
