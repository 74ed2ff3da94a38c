"""What h2 must not see of a connection's frames: GOAWAY, and frames past the bound. RFC 9113.

A GOAWAY (section 6.8) ends no stream up to the one that it names, but h2 refuses every frame that comes after
it. And h2 holds a frame until it is whole before it looks at its length (section 4.2), up to 16 MiB, and 64 frames of
a header block (section 6.10) before it looks at that: for us a block is no longer than a frame.

Those that ask for work and are no part of a call are counted here: of many h2 says nothing (acknowledgements, a window
or a reset of a stream that has ended).
"""

from __future__ import annotations

from dataclasses import dataclass

from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame

HEADER = 9
"""Bytes before a frame's payload."""

MAX_PAYLOAD = 2**14
"""Bytes; SETTINGS_MAX_FRAME_SIZE as we leave it."""

_HEADERS = 1
_GOAWAY = 7
_CONTINUATION = 9
_OF_CALLS = frozenset([0, _HEADERS, _CONTINUATION])
_GOAWAY_MIN = 8


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
    """A frame, or a header block, past `MAX_PAYLOAD`. Nothing comes after it."""

    size: int


def encode_goaway(last: int, code: int = ErrorCodes.NO_ERROR) -> bytes:
    """Return a GOAWAY frame."""
    return GoAwayFrame(stream_id=0, last_stream_id=last, error_code=code).serialize()


class FrameFilter:
    """Reads one direction of a connection; holds at most one frame header or one GOAWAY.

    :param preface: bytes before the first frame: 24 from a client, 0 from a server.
    :ivar others: frames in the last bytes that are no part of a call.
    """

    def __init__(self, preface: int) -> None:
        self._pass = preface
        self._held = b""
        self._at = 0
        self._over = False
        self.others = 0
        self._block = 0
        """Bytes of the last header block so far."""

    def receive_data(self, data: bytes) -> tuple[bytes, list[GoAway | TooLong]]:
        """Return the bytes for h2, unchanged but for what is taken out, and that."""
        passed: list[bytes] = []
        found: list[GoAway | TooLong] = []
        self._held, self._at, self.others = self._held + data, 0, 0
        while not self._over and self._at < len(self._held):
            if self._pass:
                passed.append(self._take(self._pass))
                self._pass -= len(passed[-1])
            elif not self._frame(found):
                break
        self._held = b"" if self._over else self._held[self._at :]
        return b"".join(passed), found

    def _frame(self, found: list[GoAway | TooLong]) -> bool:
        """Judge the frame that begins here; return whether it could be judged."""
        left = len(self._held) - self._at
        if left < HEADER:
            return False
        size, kind = int.from_bytes(self._held[self._at : self._at + 3], "big"), self._held[self._at + 3]
        if kind == _HEADERS:
            self._block = size
        elif kind == _CONTINUATION:
            self._block += size
        if size > MAX_PAYLOAD or self._block > MAX_PAYLOAD:
            self._over = True
            found.append(TooLong(max(size, self._block)))
        elif kind != _GOAWAY or size < _GOAWAY_MIN:
            self._pass = HEADER + size
            self.others += kind not in _OF_CALLS
        elif left < HEADER + size:
            return False
        else:
            payload = self._take(HEADER + size)[HEADER:]
            last, code = (int.from_bytes(payload[at : at + 4], "big") for at in (0, 4))
            found.append(GoAway(last & 0x7FFFFFFF, code))
        return True

    def _take(self, size: int) -> bytes:
        taken = self._held[self._at : self._at + size]
        self._at += len(taken)
        return taken
