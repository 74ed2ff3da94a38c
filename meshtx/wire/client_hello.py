"""ClientHello: what a TLS client asks for, read before a byte is answered.

A record is a type (1 byte, 22), a version (2), a length (2) and a fragment (RFC 8446, section 5.1). The
fragments of the first records together hold one handshake message: a type (1 byte, 1), a length (3) and
the ClientHello (section 4.1.2)::

    version 2 | random 32 | session id <0..32> | cipher suites <2..> | compression <1..>
    [ extensions: (type 2, data <0..2^16-1>)* ]

Read of the extensions: server_name (RFC 6066, section 3), application_layer_protocol_negotiation (RFC
7301, section 3.1), supported_versions (RFC 8446, section 4.2.1). The verdict falls with the first byte
that makes it certain, so it is the same however the bytes were cut. Bytes in, verdict out: the caller
keeps the bytes, whoever reads them next needs all of them.

This judges who should read the connection; it is no check of the TLS itself, which OpenSSL makes later.

A ClientHello that is there whole, in a record of its own, as nearly all are, is read at once by `read_whole`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Generator
from dataclasses import dataclass

RECORD_HEADER = 5
"""Bytes before a record's fragment."""

MAX_FRAGMENT = 2**14
"""Bytes in one record (RFC 8446, section 5.1)."""

MAX = 2**14 + RECORD_HEADER
"""Bytes of records, headers included, within which a ClientHello must end."""

MAX_SNI = 255
"""Bytes of a host name."""

_HANDSHAKE = 22
_CLIENT_HELLO = 1
_SERVER_NAME = 0
_ALPN = 16
_SUPPORTED_VERSIONS = 43
_EXTENSION = struct.Struct(">HH")
_SESSION_ID = RECORD_HEADER + 4 + 2 + 32
"""Where the first vector of a message is, in a record of its own."""
_PRINTABLE = re.compile(rb"[\x21-\x7e]*")


@dataclass(frozen=True, slots=True)
class Hello:
    """A whole ClientHello.

    :param sni: the host name asked for, in lower case; None if there was none.
    :param alpn: the protocols offered, in the client's order; one character a byte (ISO 8859-1).
    :param versions: ``supported_versions`` as sent, GREASE included; empty from a client of TLS 1.2 or older.
    """

    sni: str | None
    alpn: tuple[str, ...]
    versions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NotTls:
    """Certain: these bytes start no ClientHello that a TLS server would take."""


class _Broken(Exception):
    """The message breaks its format."""


class _Body:
    """Counts what is left of the message while its pieces are asked for."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, size: int) -> int:
        """Return the size, which is to be asked for next."""
        _require(size <= self.left)
        self.left -= size
        return size

    def vector(self, width: int, low: int, high: int = MAX) -> Generator[int, bytes, bytes]:
        """Return the bytes behind a length of ``width`` bytes, which must be from low to high."""
        size = int.from_bytes((yield self.take(width)), "big")
        _require(low <= size <= high)
        return (yield self.take(size))


class ClientHelloSniffer:
    """Reads the first bytes from a client until it is certain what they are.

    Holds the part of the message that is not read yet: one vector, less than `MAX` bytes.
    """

    MAX = MAX

    def __init__(self) -> None:
        self._verdict: Hello | NotTls | None = None
        self._first = b""
        self._seen = 0
        self._header = b""
        self._fragment_left = 0
        self._held = bytearray()
        self._message: Generator[int, bytes, Hello] | None = None
        self._wanted = 1

    @property
    def begun(self) -> bool:
        """True if the first bytes are those of a handshake's record: one of them is enough."""
        return bool(self._first) and _is_record(self._first)

    @property
    def held(self) -> int:
        """Bytes kept."""
        return len(self._held)

    def receive_data(self, data: bytes) -> Hello | NotTls | None:
        """Return the verdict once it is certain, None before; bytes after it change nothing.

        :param data: any number of bytes, split anywhere.
        """
        if self._verdict is None and data:
            piece = data[: MAX - self._seen]
            self._first = (self._first + piece[:2])[:2]
            self._seen += len(piece)
            try:
                self._verdict = (read_whole(piece) if self._seen == len(piece) else None) or self._records(piece)
                _require(self._verdict is not None or self._seen < MAX)
            except _Broken:
                self._verdict = NotTls()
            if self._verdict is not None:
                self._held.clear()
        return self._verdict

    def _records(self, data: bytes) -> Hello | None:
        at = 0
        while at < len(data):
            if self._fragment_left:
                piece = data[at : at + self._fragment_left]
                self._fragment_left -= len(piece)
                if (hello := self._fragment(piece)) is not None:
                    return hello
            else:
                piece = data[at : at + RECORD_HEADER - len(self._header)]
                self._start(piece)
            at += len(piece)
        return None

    def _start(self, piece: bytes) -> None:
        self._header += piece
        _require(_is_record(self._header))
        if len(self._header) == RECORD_HEADER:
            self._fragment_left = int.from_bytes(self._header[3:], "big")
            _require(0 < self._fragment_left <= MAX_FRAGMENT)
            self._header = b""

    def _fragment(self, piece: bytes) -> Hello | None:
        self._held += piece
        if len(self._held) < self._wanted:
            return None
        if self._message is None:
            self._message = _message()
            next(self._message)
        data, at = bytes(self._held), 0
        while len(data) - at >= self._wanted:
            start, at = at, at + self._wanted
            try:
                self._wanted = self._message.send(data[start:at])
            except StopIteration as end:
                return end.value
        self._held = bytearray(data[at:])
        return None


def read_whole(data: bytes) -> Hello | None:
    """Return the ClientHello that these bytes begin with, if all of it is there, in one record and nothing else.

    ``None`` says nothing: whatever is out of the ordinary is for the sniffer to judge.
    """
    size = int.from_bytes(data[3:RECORD_HEADER], "big")
    end = RECORD_HEADER + size
    if not (len(data) >= end > _SESSION_ID and size <= MAX_FRAGMENT and _is_record(data[:2])):
        return None
    if data[5] != _CLIENT_HELLO or int.from_bytes(data[6:9], "big") != size - 4 or data[9] != 3:
        return None
    try:
        return _read_body(data[:end])
    except (_Broken, IndexError, struct.error):
        return None


def _read_body(data: bytes) -> Hello:
    """Read a message that fills its record, from its session id on. It asks for no call for each field."""
    session = data[_SESSION_ID]
    at = _SESSION_ID + 1 + session
    suites = data[at] << 8 | data[at + 1]
    at += 2 + suites
    compression = data[at]
    at += 1 + compression
    if session > 32 or suites < 2 or suites % 2 or not compression:
        raise _Broken
    return _read_extensions(data, at)


def _read_extensions(data: bytes, at: int) -> Hello:
    end = len(data)
    found: dict[int, bytes] = {}
    if at != end:
        if data[at] << 8 | data[at + 1] != end - at - 2:
            raise _Broken
        at += 2
    while at < end:
        kind, size = _EXTENSION.unpack_from(data, at)
        at += 4 + size
        if kind in found:
            raise _Broken
        found[kind] = data[at - size : at]
    if at != end:
        raise _Broken
    sni, alpn, versions = found.get(_SERVER_NAME), found.get(_ALPN), found.get(_SUPPORTED_VERSIONS)
    return Hello(
        None if sni is None else _server_name(sni),
        () if alpn is None else _protocols(alpn),
        () if versions is None else _versions(versions),
    )


def _require(condition: bool) -> None:
    if not condition:
        raise _Broken


def _is_record(first: bytes) -> bool:
    """Tell whether a record of a handshake may start so; of its version only the major part is fixed."""
    return first[:2] == bytes((_HANDSHAKE, 3))[: len(first)]


def _message() -> Generator[int, bytes, Hello]:
    """Read the handshake message: yield how many bytes are wanted next, return what they said."""
    _require((yield 1)[0] == _CLIENT_HELLO)
    body = _Body(int.from_bytes((yield 3), "big"))
    _require(body.left <= MAX - RECORD_HEADER - 4)
    _require((yield body.take(2))[0] == 3)
    yield body.take(32)  # random
    yield from body.vector(1, 0, 32)
    suites = yield from body.vector(2, 2)
    _require(len(suites) % 2 == 0)
    yield from body.vector(1, 1)
    return (yield from _extensions(body))


def _extensions(body: _Body) -> Generator[int, bytes, Hello]:
    sni: str | None = None
    alpn: tuple[str, ...] = ()
    versions: tuple[int, ...] = ()
    if body.left:
        size = int.from_bytes((yield body.take(2)), "big")
        _require(size == body.left)
    kinds: set[int] = set()
    while body.left:
        kind, size = _EXTENSION.unpack((yield body.take(_EXTENSION.size)))
        _require(kind not in kinds)
        data = yield body.take(size)
        kinds.add(kind)
        if kind == _SERVER_NAME:
            sni = _server_name(data)
        elif kind == _ALPN:
            alpn = _protocols(data)
        elif kind == _SUPPORTED_VERSIONS:
            versions = _versions(data)
    return Hello(sni, alpn, versions)


def _server_name(data: bytes) -> str | None:
    names = _whole(data, 2)
    found: str | None = None
    at = 0
    while at < len(names):
        kind, name = names[at], _part(names, at + 1, 2)
        at += 3 + len(name)
        if kind == 0:  # host_name: at most one
            _require(found is None and len(name) <= MAX_SNI and _PRINTABLE.fullmatch(name) is not None)
            found = name.decode("ascii").lower()
    return found


def _protocols(data: bytes) -> tuple[str, ...]:
    names = _whole(data, 2)
    found: list[str] = []
    at = 0
    while at < len(names):
        name = _part(names, at, 1)
        found.append(name.decode("latin-1"))
        at += 1 + len(name)
    return tuple(found)


def _versions(data: bytes) -> tuple[int, ...]:
    numbers = _whole(data, 1)
    _require(len(numbers) % 2 == 0)
    return struct.unpack(f">{len(numbers) // 2}H", numbers)


def _whole(data: bytes, width: int) -> bytes:
    """Return the one vector, not empty, that the data consists of; its length has ``width`` bytes."""
    found = _part(data, 0, width)
    _require(len(data) == width + len(found))
    return found


def _part(data: bytes, at: int, width: int) -> bytes:
    """Return the vector, not empty, that starts there; its length has ``width`` bytes."""
    start = at + width
    size = int.from_bytes(data[at:start], "big")
    _require(0 < size <= len(data) - start)
    return data[start : start + size]
