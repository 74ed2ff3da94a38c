"""The head of one HTTP/1 message, whole: its start line, the fields that matter, the framing of its body.

The start line is read here: a parser that knows a fixed list of methods, or refuses raw UTF-8 in a
target, would lose connections for what does not matter to an observer. The fields are llhttp's, in
its strict mode (httptools). What two readers could frame differently - a Content-Length beside a
Transfer-Encoding, several of one - is a fault: guessing is how requests are smuggled (RFC 9112,
section 11.2).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from httptools import HttpParserError, HttpResponseParser

from meshtx.wire.http1_body import Body, Chunked, Sized, UntilClose
from meshtx.wire.http_events import KEPT, RequestHead, ResponseHead, authority_text, path_text, text

MAX_FIELDS = 256
"""Field lines of one head."""

_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}) ([^\x00-\x20\x7f]+) HTTP/1\.([01])\r\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\x00\r\n]*)?\r\n")
_ABSOLUTE = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]*://([^/?#]*)(.*)", re.DOTALL)
_USED = frozenset({b"host", b"content-length", b"transfer-encoding", b"upgrade"})


@dataclass(frozen=True, slots=True)
class Fault:
    """The head cannot be read with certainty, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Request:
    """The head of a request.

    :param switches: it asks for another protocol: what follows it is unclear until it is answered.
    :param body: ``None``: there is none.
    """

    head: RequestHead
    switches: bool
    body: Body | None


@dataclass(frozen=True, slots=True)
class Response:
    """The head of an answer, and how its body ends; ``None``: there is none."""

    head: ResponseHead
    body: Body | None


class _Fields:
    """llhttp's callback: keeps what is reported, and what framing and addressing need."""

    __slots__ = ("kept", "used")

    def __init__(self) -> None:
        self.kept: list[tuple[str, str]] = []
        self.used: dict[bytes, list[bytes]] = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in KEPT:
            self.kept.append((KEPT[name], text(value.strip(b" \t"))))
        elif name in _USED:
            self.used.setdefault(name, []).append(value.strip(b" \t"))


def parse_request(head: bytes, index: int) -> Request | Fault:
    """Read a request's head, the empty line included.

    :param index: the request's number on its connection.
    """
    line = _REQUEST_LINE.match(head)
    if line is None:
        return Fault("malformed request line")
    fields = _read_fields(head[line.end() :])
    if isinstance(fields, Fault):
        return fields
    hosts = fields.used.get(b"host", [b""])
    if len(hosts) > 1:
        return Fault("several Host fields")
    body = _declared_body(fields, line[3] == b"0")
    if isinstance(body, Fault):
        return body
    if isinstance(body, UntilClose):
        return Fault("a request's last transfer coding is not chunked")
    method, target = line[1], line[2]
    authority, path = _target(method, target, hosts[0])
    request = RequestHead(index, text(method), authority, path, tuple(fields.kept))
    return Request(request, method == b"CONNECT" or b"upgrade" in fields.used, body)


def parse_response(head: bytes, index: int, method: str) -> Response | Fault:
    """Read an answer's head, the empty line included, and find its body's end (RFC 9112, section 6.3).

    :param index: the request's number, and `method` its method.
    """
    line = _STATUS_LINE.match(head)
    if line is None:
        return Fault("malformed status line")
    fields = _read_fields(head[line.end() :])
    if isinstance(fields, Fault):
        return fields
    body = _declared_body(fields, line[1] == b"0")
    if isinstance(body, Fault):
        return body
    answer = ResponseHead(index, int(line[2]), tuple(fields.kept))
    if method == "HEAD" or answer.status < 200 or answer.status in {204, 304}:
        return Response(answer, None)
    if body is None and b"content-length" not in fields.used:
        body = UntilClose()
    return Response(answer, body)


def _read_fields(block: bytes) -> _Fields | Fault:
    """Let llhttp read the field lines, the empty line included.

    As those of an answer, whichever they are: a request's would have it judge methods and upgrades, too.
    """
    if block.count(b"\n") > MAX_FIELDS + 1:
        return Fault("too many fields")
    fields = _Fields()
    try:
        HttpResponseParser(fields).feed_data(b"HTTP/1.1 200 \r\n" + block)
    except HttpParserError:
        return Fault("malformed fields")
    return fields


def _declared_body(fields: _Fields, old: bool) -> Body | Fault | None:
    """Return the body that the fields declare, ``None`` for none or an empty one.

    llhttp has refused bad lengths, repeated ones, and one beside a transfer coding.

    :param old: the version is 1.0, which has no transfer codings.
    """
    lengths = fields.used.get(b"content-length", [])
    declared = fields.used.get(b"transfer-encoding")
    if declared is None:
        return Sized(int(lengths[0])) if lengths and int(lengths[0]) else None
    if old:
        return Fault("a transfer coding in HTTP/1.0")
    codings = [coding.strip(b" \t").lower() for coding in b",".join(declared).split(b",")]
    if b"chunked" in codings[:-1]:
        return Fault("chunked is not the last transfer coding")
    return Chunked() if codings[-1] == b"chunked" else UntilClose()


def _target(method: bytes, target: bytes, host: bytes) -> tuple[str, str]:
    """Return authority and path of a target in any of its four forms (RFC 9112, section 3.2)."""
    if method == b"CONNECT":
        return authority_text(target), ""
    if target[:1] != b"/" and (absolute := _ABSOLUTE.fullmatch(target)):
        return authority_text(absolute[1]), path_text(absolute[2]) or "/"
    return authority_text(host), path_text(target)
