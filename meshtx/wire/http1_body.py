"""Where an HTTP/1 body ends: by its length, by its chunks, or with the connection.

A body is passed over, never kept: each kind takes its share of the bytes and counts. Framing is
read strictly (RFC 9112, sections 6 and 7); what two readers could take differently is a fault.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

from meshtx.wire.http_events import MAX_HEAD

MAX_LINE = 4096
"""Bytes of the line before a chunk, its extensions included."""
MAX_TRAILER = 8192
"""Bytes of one trailer field."""

CHUNKED = -1
UNTIL_CLOSE = -2
"""Lengths of bodies that no number tells."""

MAX_LINES = 1024
"""Lines that are read in one go, before whoever feeds a body counts them."""

_CRLF = b"\r\n"
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\x00\r\n]*)?\r\n")
_TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[^\x00\r\n]*\r\n")


class Until:
    """Collects bytes up to a marker, and holds at most `limit` bytes and the marker.

    :ivar end: the position behind what was taken last.
    :ivar overflow: the marker did not come within the limit.
    """

    __slots__ = ("_marker", "_window", "end", "held", "overflow")

    def __init__(self, marker: bytes, limit: int) -> None:
        self._marker = marker
        self._window = limit + len(marker)
        self.held = bytearray()
        self.end = 0
        self.overflow = False

    def take(self, data: bytes, pos: int) -> bytes | None:
        """Take bytes from `pos` on; return what they complete, the marker included."""
        if self.held:
            return self._continue(data, pos)
        found = data.find(self._marker, pos, pos + self._window)
        if found < 0:
            return self._continue(data, pos)
        self.end = end = found + len(self._marker)
        return data[pos:end]

    def _continue(self, data: bytes, pos: int) -> bytes | None:
        before = len(self.held)
        self.held += data[pos : pos + self._window - before]
        found = self.held.find(self._marker, max(0, before - len(self._marker) + 1))
        if found < 0:
            self.overflow = len(self.held) == self._window
            self.end = len(data)
            return None
        size = found + len(self._marker)
        self.end = pos + size - before
        whole = bytes(self.held[:size])
        self.held.clear()
        return whole


class Body(Protocol):
    """One body on its way."""

    length: int
    """Bytes of content so far."""
    done: bool
    fault: str
    """Why it cannot be followed further; empty while it can."""
    work: int
    """Units of `meshtx.wire.work` that the last feeding took."""

    def feed(self, data: bytes, pos: int) -> int:
        """Take some of the body's share of the bytes from `pos` on, at least one; return the position behind it."""

    @property
    def held(self) -> int:
        """Bytes that are kept."""


class Sized:
    """A body of known length (RFC 9112, section 6.2)."""

    __slots__ = ("_left", "done", "length")
    fault = ""
    held = 0
    work = 1

    def __init__(self, size: int) -> None:
        self._left = size
        self.length = 0
        self.done = False

    def feed(self, data: bytes, pos: int) -> int:
        """Take what is left of the length."""
        taken = min(self._left, len(data) - pos)
        self._left -= taken
        self.length += taken
        self.done = not self._left
        return pos + taken


class UntilClose:
    """A body that only the end of the connection ends (RFC 9112, section 6.3, rule 8)."""

    __slots__ = ("length",)
    fault = ""
    done = False
    held = 0
    work = 1

    def __init__(self) -> None:
        self.length = 0

    def feed(self, data: bytes, pos: int) -> int:
        """Take all of it."""
        self.length += len(data) - pos
        return len(data)


class Chunked:
    """A body in chunks (RFC 9112, section 7.1).

    In order::

    size line ─▶ data ─▶ CRLF ─▶ size line ... last chunk ─▶ trailer lines ─▶ empty line
    """

    __slots__ = ("_data_end", "_left", "_line", "_read", "_size", "_trailers", "done", "fault", "length", "work")

    def __init__(self) -> None:
        self.length = 0
        self.done = False
        self.fault = ""
        self.work = 0
        self._left = 0
        self._trailers = 0
        self._size = Until(_CRLF, MAX_LINE)
        self._data_end = Until(_CRLF, 0)
        self._line = self._size
        self._read: Callable[[bytes], None] = self._read_size

    @property
    def held(self) -> int:
        """Bytes of the line that is incomplete."""
        return len(self._line.held)

    def feed(self, data: bytes, pos: int) -> int:
        """Take bytes up to the end of the last chunk's trailers, or of `MAX_LINES`."""
        self.work = 0
        while pos < len(data) and not self.done and not self.fault and self.work < MAX_LINES:
            if self._left:
                taken = min(self._left, len(data) - pos)
                self._left -= taken
                self.length += taken
                pos += taken
                continue
            self.work += 1
            collector = self._line
            line = collector.take(data, pos)
            if line is not None:
                self._read(line)
            elif collector.overflow:
                self.fault = "a line of the chunked coding is too long"
            pos = collector.end
        return pos

    def _read_size(self, line: bytes) -> None:
        parsed = _SIZE.fullmatch(line)
        if parsed is None:
            self.fault = "malformed chunk"
            return
        self._left = int(parsed[1], 16)
        if self._left:
            self._line, self._read = self._data_end, self._read_data_end
        else:
            self._line, self._read = Until(_CRLF, MAX_TRAILER), self._read_trailer

    def _read_data_end(self, _line: bytes) -> None:
        self._line, self._read = self._size, self._read_size

    def _read_trailer(self, line: bytes) -> None:
        self._trailers += len(line)
        if line == _CRLF:
            self.done = True
        elif self._trailers > MAX_HEAD:
            self.fault = "trailers are too long"
        elif not _TRAILER.fullmatch(line):
            self.fault = "malformed trailer"


def body(length: int) -> Body:
    """Return what passes over a body of this length, or `CHUNKED`, or `UNTIL_CLOSE`."""
    if length == CHUNKED:
        return Chunked()
    return UntilClose() if length == UNTIL_CLOSE else Sized(length)
