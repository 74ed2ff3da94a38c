"""HTTP/2 frames of one direction: those that an observer needs whole, DATA as counts.

A frame is 9 bytes - length (3), type, flags, stream (4) - and the payload (RFC 9113, section 4.1).
Payloads that matter are kept until they are whole, at most `MAX_HEAD` bytes; all others, DATA above
all, are passed over by their length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

from meshtx.wire.http_events import MAX_HEAD
from meshtx.wire.work import Work

END_STREAM = 0x1
ACK = 0x1
"""Of SETTINGS."""
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY = 0x20

_HEADER = Struct("!HBBBL")
_STREAM = 2**31 - 1


class Kind(IntEnum):
    """The types of frames that mean something to an observer (RFC 9113, section 6)."""

    DATA = 0
    HEADERS = 1
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    GOAWAY = 7
    CONTINUATION = 9


_WHOLE = frozenset(Kind) - {Kind.DATA}


@dataclass(slots=True)  # not frozen, as a few come with every request
class Frame:
    """A frame, whole."""

    kind: int
    flags: int
    stream: int
    payload: bytes


@dataclass(slots=True)  # likewise
class Passed:
    """A part of a DATA frame went by.

    :param size: bytes of content, without padding.
    :param end: it was the last part of the stream's last frame.
    """

    stream: int
    size: int
    end: bool


@dataclass(frozen=True, slots=True)
class Broken:
    """The format is broken, or a bound was reached; nothing comes after it.

    :param costly: the bound is that of `meshtx.wire.work`.
    """

    reason: str
    costly: bool = False


TOO_MUCH_WORK = Broken("too much work for one read", costly=True)

Item = Frame | Passed | Broken


class FrameReader:
    """Reads one direction, behind the client's preface.

    In order::

        header ─▶ payload, whole | pad length ─▶ content ─▶ padding | skipped ─▶ header ...

    The first frame must be SETTINGS (RFC 9113, section 3.4), so an HTTP/1 answer to the preface is told at once.

    :param work: what the caller's call may still cost; a frame, or a part of one, is a unit.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self.held = bytearray()
        self._read: Callable[[bytes, int], tuple[int, Item | None]] = self._read_header
        self._first = True
        self._between = False  # two frames, the first one left aside, and nothing is held
        self._broken = False
        self._kind = self._flags = self._stream = 0
        self._left = 0
        self._padding = 0

    def receive_data(self, data: bytes) -> Iterator[Item]:
        """Yield what these bytes complete. The caller takes all of it, or comes never again."""
        pos, size, work = 0, len(data), self._work
        while pos < size and not self._broken:
            work.left -= 1
            if work.left < 0:
                self._broken = True
                yield TOO_MUCH_WORK
                return
            if self._between and pos + _HEADER.size <= size:
                end, item = self._whole_at(data, pos)
                if end <= size:
                    pos = end
                    if item is not None:
                        yield item
                    continue
            pos, item = self._read(data, pos)
            self._between = self._read == self._read_header and not self.held
            if item is not None:
                self._broken = isinstance(item, Broken)
                yield item

    def _whole_at(self, data: bytes, pos: int) -> tuple[int, Item | None]:
        """Read a frame that is here as a whole, as most are; the end is behind the data if it is not.

        What needs a closer look counts as not here as a whole.
        """
        high, low, kind, flags, stream = _HEADER.unpack_from(data, pos)
        begin = pos + _HEADER.size
        length = high << 8 | low
        end, stream = begin + length, stream & _STREAM
        if end > len(data):
            return end, None
        if kind == 0:  # DATA, the most frequent by far
            if not stream or flags & PADDED:
                return len(data) + 1, None
            return end, Passed(stream, length, bool(flags & END_STREAM))
        if kind not in _WHOLE:
            return end, None
        if length > MAX_HEAD:
            return len(data) + 1, None
        return end, Frame(kind, flags, stream, data[begin:end])

    def _read_header(self, data: bytes, pos: int) -> tuple[int, Item | None]:
        pos, raw = self._take(data, pos, _HEADER.size)
        return pos, self._begin(raw) if raw is not None else None

    def _begin(self, raw: bytes) -> Item | None:
        high, low, self._kind, self._flags, stream = _HEADER.unpack(raw)
        self._stream = stream & _STREAM
        self._left = high << 8 | low
        if self._first and (self._kind != Kind.SETTINGS or self._flags & ACK):
            return Broken("the first frame is not SETTINGS")
        self._first = False
        if self._kind == Kind.DATA:
            return self._begin_data()
        if self._kind not in _WHOLE:
            self._read = self._skip if self._left else self._read_header
            return None
        if self._left > MAX_HEAD:
            return Broken("a frame is too long")
        if not self._left:
            return self._whole(b"")
        self._read = self._read_whole
        return None

    def _read_whole(self, data: bytes, pos: int) -> tuple[int, Item | None]:
        pos, payload = self._take(data, pos, self._left)
        return pos, self._whole(payload) if payload is not None else None

    def _whole(self, payload: bytes) -> Frame:
        self._read = self._read_header
        return Frame(self._kind, self._flags, self._stream, payload)

    def _skip(self, data: bytes, pos: int) -> tuple[int, Item | None]:
        taken = min(self._left, len(data) - pos)
        self._left -= taken
        if not self._left:
            self._read = self._read_header
        return pos + taken, None

    def _begin_data(self) -> Item | None:
        if not self._stream:
            return Broken("DATA on stream 0")
        self._padding = 0
        if not self._flags & PADDED:
            self._read = self._pass
            return None if self._left else self._passed(0)
        if not self._left:
            return Broken("a padded frame without its pad length")
        self._read = self._read_pad_length
        return None

    def _read_pad_length(self, data: bytes, pos: int) -> tuple[int, Item | None]:
        self._padding = data[pos]
        self._left -= 1 + self._padding
        if self._left < 0:
            return pos, Broken("more padding than payload")
        self._read = self._pass
        return pos + 1, None if self._left or self._padding else self._passed(0)

    def _pass(self, data: bytes, pos: int) -> tuple[int, Item | None]:
        content = min(self._left, len(data) - pos)
        padding = min(self._padding, len(data) - pos - content)
        self._left -= content
        self._padding -= padding
        return pos + content + padding, self._passed(content)

    def _passed(self, content: int) -> Passed:
        over = not self._left and not self._padding
        if over:
            self._read = self._read_header
        return Passed(self._stream, content, over and bool(self._flags & END_STREAM))

    def _take(self, data: bytes, pos: int, size: int) -> tuple[int, bytes | None]:
        """Return the position behind `size` bytes and the bytes; keep what there is of them."""
        end = pos + size - len(self.held)
        if end > len(data):
            self.held += data[pos:]
            return len(data), None
        if not self.held:
            return end, data[pos:end]
        self.held += data[pos:end]
        taken = bytes(self.held)
        self.held.clear()
        return end, taken
