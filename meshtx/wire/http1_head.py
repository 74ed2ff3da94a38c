"""The head of one HTTP/1 message, whole: its start line, the fields that matter, the framing of its body.

The start line is read here: a parser that knows a fixed list of methods, or refuses raw UTF-8 in a
target, would lose connections for what does not matter to an observer. The fields are llhttp's, in
its strict mode (httptools). What two readers could frame differently - a Content-Length beside a
Transfer-Encoding, several of one - is a fault: guessing is how requests are smuggled (RFC 9112,
section 11.2).

Every head is judged whole, but only its framing is taken from it; the rest is read when somebody asks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from httptools import HttpParserError, HttpResponseParser

from meshtx.wire.http1_body import CHUNKED, UNTIL_CLOSE
from meshtx.wire.http_events import KEPT, Fields, Pairs, RequestText, authority_text, kept, path_text, text

MAX_FIELDS = 256
"""Field lines of one head."""

_SHORTEST_FIELD = len(b"a:\r\n")
_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}) ([^\x00-\x20\x7f]+) HTTP/1\.([01])\r\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\x00\r\n]*)?\r\n")
_ABSOLUTE = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]*://([^/?#]*)(.*)", re.DOTALL)
_FRAMING = re.compile(rb"\n(host|content-length|transfer-encoding|upgrade):([^\r]*)")
"""The fields that decide on a request, in a lower-cased head that llhttp found good: every line feed ends a line."""
_REPORTED = re.compile(rb"\n(host|" + b"|".join(KEPT) + rb"):([^\r]*)", re.IGNORECASE)
"""The fields that are told, in such a head as it was."""
_NOBODY = object()
"""Is told nothing: llhttp only judges."""


@dataclass(frozen=True, slots=True)
class Fault:
    """The head cannot be read with certainty, and why."""

    reason: str


class Request:
    """The head of a request.

    :param head: all of it, the empty line included.
    :param switches: it asks for another protocol: what follows it is unclear until it is answered.
    :param length: of its body, as `meshtx.wire.http1_body.body` takes it.
    """

    __slots__ = ("_text", "head", "length", "method", "switches")

    def __init__(self, head: bytes, method: bytes, switches: bool, length: int) -> None:
        self.head = head
        self.method = method
        self.switches = switches
        self.length = length
        self._text: RequestText | None = None

    def read(self) -> RequestText:
        """Return what it says."""
        if self._text is None:
            line = _REQUEST_LINE.match(self.head)
            assert line is not None
            fields = _reported(self.head)
            host = next((value for name, value in fields if name == b"host"), b"")
            authority, path = _target(self.method, line[2], host)
            self._text = RequestText(text(self.method), authority, path, kept(fields))
        return self._text


class Response:
    """The head of an answer.

    :param length: of its body, unless the request forbids one.
    """

    __slots__ = ("head", "length", "status")

    def __init__(self, head: bytes, status: int, length: int) -> None:
        self.head = head
        self.status = status
        self.length = length

    def read(self) -> Fields:
        """Return those of its fields that are reported."""
        return kept(_reported(self.head))


def parse_request(head: bytes) -> Request | Fault:
    """Read a request's head, the empty line included."""
    line = _REQUEST_LINE.match(head)
    if line is None:
        return Fault("malformed request line")
    method, _, minor = line.groups()
    framing = _framing(head, line.end())
    if isinstance(framing, Fault):
        return framing
    if len(framing) == 1 and framing[0][0] == b"host":
        return Request(head, method, method == b"CONNECT", 0)
    names = [name for name, _ in framing]
    if names.count(b"host") > 1:
        return Fault("several Host fields")
    length = _declared_length(framing, minor == b"0")
    if isinstance(length, Fault):
        return length
    if length == UNTIL_CLOSE:
        return Fault("a request's last transfer coding is not chunked")
    return Request(head, method, method == b"CONNECT" or b"upgrade" in names, length or 0)


def parse_response(head: bytes) -> Response | Fault:
    """Read an answer's head, the empty line included, and find its body's end (RFC 9112, section 6.3)."""
    line = _STATUS_LINE.match(head)
    if line is None:
        return Fault("malformed status line")
    framing = _framing(head, line.end())
    if isinstance(framing, Fault):
        return framing
    length = _declared_length(framing, line[1] == b"0")
    if isinstance(length, Fault):
        return length
    status = int(line[2])
    if status < 200 or status in {204, 304}:
        length = 0
    return Response(head, status, UNTIL_CLOSE if length is None else length)


def _framing(head: bytes, start: int) -> Pairs | Fault:
    r"""Judge the field lines from `start` on, and return those that matter, lower-cased.

    llhttp reads them as those of an answer, whichever they are: a request's would have it judge methods and
    upgrades, too.
    """
    block = head[start - 1 :]  # with the \n before them
    if len(block) > MAX_FIELDS * _SHORTEST_FIELD and block.count(b"\n") > MAX_FIELDS + 2:
        return Fault("too many fields")
    try:
        HttpResponseParser(_NOBODY).feed_data(b"HTTP/1.1 200 \r" + block)
    except HttpParserError:
        return Fault("malformed fields")
    return _FRAMING.findall(block.lower())


def _reported(head: bytes) -> Pairs:
    """Return the fields of a good head that are reported, in their order, and Host."""
    return [(name.lower(), value.strip(b" \t")) for name, value in _REPORTED.findall(head)]


def _declared_length(framing: Pairs, old: bool) -> int | Fault | None:
    """Return the length of the body that the fields declare, ``None`` if they say nothing of one.

    llhttp has refused bad lengths, repeated ones, and one beside a transfer coding.

    :param old: the version is 1.0, which has no transfer codings.
    """
    if len(framing) == 1 and framing[0][0] == b"content-length":
        return _number(framing[0][1])
    codings: list[bytes] = []
    length = None
    for name, value in framing:
        if name == b"content-length":
            length = _number(value)
        elif name == b"transfer-encoding":
            codings += value.split(b",")
    if not codings:
        return length
    if old:
        return Fault("a transfer coding in HTTP/1.0")
    codings = [coding.strip(b" \t") for coding in codings]
    if b"chunked" in codings[:-1]:
        return Fault("chunked is not the last transfer coding")
    return CHUNKED if codings[-1] == b"chunked" else UNTIL_CLOSE


def _number(value: bytes) -> int:
    """Return a length that llhttp found good; Python reads no number of more than 4300 digits, leading zeros or not."""
    return int(value.strip(b" \t").lstrip(b"0") or b"0")


def _target(method: bytes, target: bytes, host: bytes) -> tuple[str, str]:
    """Return authority and path of a target in any of its four forms (RFC 9112, section 3.2)."""
    if method == b"CONNECT":
        return authority_text(target), ""
    if target[:1] != b"/" and (absolute := _ABSOLUTE.fullmatch(target)):
        return authority_text(absolute[1]), path_text(absolute[2]) or "/"
    return authority_text(host), path_text(target)
