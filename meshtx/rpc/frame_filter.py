"""Cuts a connection's bytes into whole frames for h2, weighs them, and takes out what h2 must not see. RFC 9113.

    transport ─▶ feed ─▶ take(budget) ─▶ Batch: frames for h2, and what they cost
                          └─ what exceeds the budget waits for the next `take`

A GOAWAY (section 6.8) ends no stream up to the one that it names, but h2 refuses every frame that comes after
it. And h2 holds a frame until it is whole before it looks at its length (section 4.2), up to 16 MiB, and 64 frames of
a header block (section 6.10) before it looks at that: for us a block is no longer than a frame, and a SETTINGS frame
(section 6.5) has no more than a few entries, for h2 takes its time over each.

Costs are microseconds of CPU time that h2 and what follows take for a frame of that kind and size, estimated from
measurements; no single frame costs more than `_MOST`. Frames that ask for work and are no part of a call are counted:
of many h2 says nothing (acknowledgements, a window or a reset of a stream that has ended).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame

HEADER = 9
"""Bytes before a frame's payload."""

MAX_PAYLOAD = 2**14
"""Bytes; SETTINGS_MAX_FRAME_SIZE as we leave it."""

MAX_SETTINGS = 64 * 6
"""Bytes of a SETTINGS frame: 64 entries, where RFC 9113 knows six."""

_DATA = 0
_HEADERS = 1
_SETTINGS = 4
_GOAWAY = 7
_CONTINUATION = 9
_BLOCKS = frozenset([_HEADERS, _CONTINUATION])
_GOAWAY_MIN = 8

_FRAME = 15
_OPENING = 150
_MOST = 4_000
"""Microseconds: a frame, what the head of a call costs more, and the bound of what its fields do."""

_LONG_BLOCK = 2**12
_BLOCK_UNIT = 2**9
"""Bytes: each of the second in a frame longer than the first counts as a frame that is no part of a call."""


@dataclass(frozen=True, slots=True)
class GoAway:
    """The peer takes no new stream.

    :param last: the highest stream that it did or will look at.
    :param code: HTTP/2 error code, 0 for an orderly end.
    """

    last: int
    code: int


@dataclass(frozen=True, slots=True)
class TooLong:
    """A frame, or a header block, past a bound. Nothing comes after it.

    :param size: bytes.
    :param limit: as many are taken.
    """

    size: int
    limit: int = MAX_PAYLOAD

    @property
    def code(self) -> ErrorCodes:
        """What the peer is told: a SETTINGS frame past our bound breaks no rule of the protocol."""
        return ErrorCodes.FRAME_SIZE_ERROR if self.limit == MAX_PAYLOAD else ErrorCodes.ENHANCE_YOUR_CALM


@dataclass(slots=True)
class Batch:
    """Frames that are to be processed together.

    :ivar passed: whole frames for h2, and of the client's preface what has come.
    :ivar found: what was taken out from between them.
    :ivar cost: microseconds.
    :ivar unpaid: frames that are no part of a call, and what counts as such.
    :ivar data: DATA frames.
    """

    passed: bytes = b""
    found: list[GoAway | TooLong] = field(default_factory=list)
    cost: int = 0
    unpaid: int = 0
    data: int = 0


def encode_goaway(last: int, code: int = ErrorCodes.NO_ERROR) -> bytes:
    """Return a GOAWAY frame."""
    return GoAwayFrame(stream_id=0, last_stream_id=last, error_code=code).serialize()


class FrameFilter:
    """Reads one direction of a connection. Beside what was fed and not taken it holds at most one unfinished frame.

    :param preface: bytes before the first frame: 24 from a client, 0 from a server.
    :ivar waiting: whether whole frames are left after the last `take`.
    """

    def __init__(self, preface: int) -> None:
        self._preface = preface
        self._held = b""
        self._at = 0
        self._over = False
        self._block = 0
        """Bytes of the last header block so far."""
        self.waiting = False

    def feed(self, data: bytes) -> None:
        """Take bytes from the transport."""
        if not self._over:
            self._held, self._at = self._held[self._at :] + data, 0

    def take(self, budget: int) -> Batch:
        """Return the next whole frames, one more than the budget covers at the most.

        :param budget: microseconds.
        """
        batch = Batch()
        passed: list[bytes] = []
        start = self._at
        if self._preface:
            self._at = min(len(self._held), start + self._preface)
            self._preface -= self._at - start
        self.waiting = False
        while not self._over and (size := self._next_size(batch)) is not None:
            if batch.cost >= budget:
                self.waiting = True
                break
            end = self._at + HEADER + size
            kind = self._held[self._at + 3]
            self._weigh(kind, size, batch)
            if kind == _GOAWAY and size >= _GOAWAY_MIN:
                passed.append(self._held[start : self._at])
                batch.found.append(_goaway(self._held, self._at + HEADER))
                start = end
            self._at = end
        passed.append(self._held[start : self._at])
        batch.passed = b"".join(passed)
        if self._over:
            self._held, self._at = b"", 0
        return batch

    def _next_size(self, batch: Batch) -> int | None:
        """Return the length of the payload that comes next, ``None`` unless all of it is here and within the bounds."""
        held, at = self._held, self._at
        if len(held) - at < HEADER:
            return None
        size, kind = int.from_bytes(held[at : at + 3], "big"), held[at + 3]
        block = size + (self._block if kind == _CONTINUATION else 0)
        limit = MAX_SETTINGS if kind == _SETTINGS and size <= MAX_PAYLOAD else MAX_PAYLOAD
        if size > limit or (kind in _BLOCKS and block > limit):
            self._over = True
            batch.found.append(TooLong(block, limit))
            return None
        return size if len(held) - at >= HEADER + size else None

    def _weigh(self, kind: int, size: int, batch: Batch) -> None:
        cost = _FRAME
        if kind == _DATA:
            batch.data += 1
            cost += size // 256
        elif kind in _BLOCKS:
            self._block = size + (self._block if kind == _CONTINUATION else 0)
            cost += min(2 * size, _MOST)
            if kind == _HEADERS:
                cost += _OPENING
            else:
                batch.unpaid += 1
            if size > _LONG_BLOCK:
                batch.unpaid += size // _BLOCK_UNIT
        else:
            batch.unpaid += 1
            if kind == _SETTINGS:
                cost += size
        batch.cost += cost


def _goaway(held: bytes, at: int) -> GoAway:
    last, code = (int.from_bytes(held[start : start + 4], "big") for start in (at, at + 4))
    return GoAway(last & 0x7FFFFFFF, code)
