"""Takes GOAWAY frames out of HTTP/2 bytes on their way to h2.

A GOAWAY (RFC 9113, section 6.8) ends no stream up to the one it names, but h2 refuses every frame that comes
after it. So the frames are read here, and h2 never sees them.
"""

from __future__ import annotations

from dataclasses import dataclass

from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client sends before its first frame (RFC 9113, section 3.4)."""

HEADER = 9
MAX_PAYLOAD = 2**14
"""Bytes of a frame that h2 lets pass by default; a longer GOAWAY is left to it to refuse."""

_GOAWAY = 7


@dataclass(frozen=True, slots=True)
class GoAway:
    """The peer takes no new stream.

    :param last: the highest stream that it did or will look at.
    :param code: HTTP/2 error code, 0 for an orderly end.
    """

    last: int
    code: int


def encode_goaway(last: int) -> bytes:
    """Return the frame that ends a connection in order."""
    frame = GoAwayFrame(stream_id=0, last_stream_id=last, error_code=ErrorCodes.NO_ERROR)
    return frame.serialize()


class GoAwayFilter:
    """Reads one direction of a connection; holds at most one frame header or one GOAWAY.

    :param preface: bytes before the first frame: 24 from a client, 0 from a server.
    """

    def __init__(self, preface: int) -> None:
        self._pass = preface
        self._held = b""

    def receive_data(self, data: bytes) -> tuple[bytes, list[GoAway]]:
        """Return the bytes for h2, unchanged but for the GOAWAY frames, and those."""
        data = self._held + data
        passed: list[bytes] = []
        found: list[GoAway] = []
        at = 0
        while True:
            passed.append(data[at : at + self._pass])
            at += len(passed[-1])
            self._pass -= len(passed[-1])
            header = data[at : at + HEADER]
            if self._pass or len(header) < HEADER:
                break
            size = int.from_bytes(header[:3], "big")
            if header[3] != _GOAWAY or not 8 <= size <= MAX_PAYLOAD:
                self._pass = HEADER + size
            elif len(data) - at < HEADER + size:
                break
            else:
                at += HEADER
                found.append(
                    GoAway(
                        int.from_bytes(data[at : at + 4], "big") & 0x7FFFFFFF,
                        int.from_bytes(data[at + 4 : at + 8], "big"),
                    )
                )
                at += size
        self._held = data[at:]
        return b"".join(passed), found
