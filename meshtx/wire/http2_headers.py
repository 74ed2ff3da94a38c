"""HTTP/2 header blocks of one direction: put together from frames, and decoded.

A block is HEADERS or PUSH_PROMISE and its CONTINUATIONs (RFC 9113, section 6.10). Every block is
decoded, wanted or not: the decoder's table depends on each of them (RFC 7541, section 2.2).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from hpack import HPACKError

from meshtx.wire.hpack_block import BlockDecoder, TooMuchWork
from meshtx.wire.http2_frames import END_HEADERS, END_STREAM, PADDED, PRIORITY, TOO_MUCH_WORK, Broken, Frame, Kind
from meshtx.wire.http_events import MAX_HEAD, Pairs
from meshtx.wire.work import Work

MAX_CONTINUATIONS = 64
"""Frames of one block; empty ones would else keep a block open for ever (CVE-2024-27316 and its kin)."""
MAX_TABLE = 2**16
"""Bytes of the decoder's table, whatever the other side allows."""
MAX_UNACKNOWLEDGED = 100
"""SETTINGS of the other side that were not acknowledged yet."""

_DEFAULT_TABLE = 4096
_COMMON = END_HEADERS | PADDED | PRIORITY
_INDEXED = 0x80
"""A block of only such bytes refers to the tables and changes nothing (RFC 7541, section 6.1)."""
_MAX_KNOWN = 16
_MAX_KNOWN_SIZE = 32


@dataclass(slots=True)  # not frozen, as one comes with every request
class Block:
    """A header block, decoded.

    :param end: the stream ends with it.
    :param promised: it came with PUSH_PROMISE: the head of a request that the client never sent.
    """

    stream: int
    fields: Pairs
    end: bool
    promised: bool


class HeaderBlocks:
    """Puts the blocks of one direction together; holds at most one, of at most `MAX_HEAD` bytes.

    Blocks that only refer to the tables are remembered until the tables change: with gRPC nearly every
    answer and trailer is one, and decoding them anew made observing a call a third dearer.

    :param work: what the caller's call may still cost; it is charged for what is decoded.
    """

    def __init__(self, work: Work) -> None:
        self._decoder = BlockDecoder(work)
        self._begun: Frame | None = None
        self._block = bytearray()
        self._continuations = 0
        self._known: dict[bytes, Pairs] = {}
        self._table = _DEFAULT_TABLE
        self._offers: deque[int | None] = deque()

    @property
    def held(self) -> int:
        """Bytes that are kept, or may be: the unfinished block, and the decoder's table as RFC 7541 counts it."""
        return len(self._block) + self._decoder.table_size

    def receive(self, frame: Frame) -> Block | Broken | None:
        """Take one frame of the direction, of any kind; return the block that it completes."""
        if frame.kind == Kind.HEADERS and frame.flags & _COMMON == END_HEADERS and frame.stream and not self._begun:
            return self._decode(frame, frame.payload)  # the usual way, short
        if frame.kind == Kind.CONTINUATION:
            return self._continue(frame)
        if self._begun is not None:
            return Broken("a header block is interrupted")
        if frame.kind not in {Kind.HEADERS, Kind.PUSH_PROMISE}:
            return None
        if not frame.stream:
            return Broken("a header block on stream 0")
        fragment = _fragment(frame)
        if fragment is None:
            return Broken("a frame is too short for its flags")
        self._begun = frame
        self._continuations = 0
        self._block += fragment
        return self._decode_held(frame) if frame.flags & END_HEADERS else None

    def offer(self, size: int | None) -> Broken | None:
        """The other side sent SETTINGS, and in them the table's size, or not.

        The encoder may use a larger table from now on, and must use a smaller one from its acknowledgement on.
        """
        if len(self._offers) >= MAX_UNACKNOWLEDGED:
            return Broken("too many SETTINGS without an acknowledgement")
        self._offers.append(size)
        self._allow()
        return None

    def acknowledge(self) -> None:
        """The direction's sender acknowledged the first of the offers."""
        size = self._offers.popleft() if self._offers else None
        self._table = self._table if size is None else size
        self._allow()

    def _allow(self) -> None:
        largest = max(self._table, *(size or 0 for size in self._offers), 0)
        self._decoder.max_table_size = min(largest, MAX_TABLE)

    def _continue(self, frame: Frame) -> Block | Broken | None:
        if self._begun is None or self._begun.stream != frame.stream:
            return Broken("CONTINUATION of no header block")
        self._continuations += 1
        if self._continuations > MAX_CONTINUATIONS or len(self._block) + len(frame.payload) > MAX_HEAD:
            return Broken("a header block is too long")
        self._block += frame.payload
        return self._decode_held(self._begun) if frame.flags & END_HEADERS else None

    def _decode_held(self, begun: Frame) -> Block | Broken:
        block = bytes(self._block)
        self._block.clear()
        self._begun = None
        return self._decode(begun, block)

    def _decode(self, begun: Frame, block: bytes) -> Block | Broken:
        fields = self._known.get(block)
        if fields is None:
            try:
                fields = self._decoder.decode(block)
            except HPACKError:
                return Broken("malformed header block")
            except TooMuchWork:
                return TOO_MUCH_WORK
            self._remember(block, fields)
        return Block(begun.stream, fields, bool(begun.flags & END_STREAM), begun.kind == Kind.PUSH_PROMISE)

    def _remember(self, block: bytes, fields: Pairs) -> None:
        indexed = min(block, default=_INDEXED) >= _INDEXED
        if not indexed or len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        if indexed and len(block) <= _MAX_KNOWN_SIZE:
            self._known[block] = fields


def _fragment(frame: Frame) -> bytes | None:
    """Return the part of the block that HEADERS or PUSH_PROMISE carries, without padding and prefix."""
    start, end = 0, len(frame.payload)
    if frame.flags & PADDED:
        if not frame.payload:
            return None
        start, end = 1, end - frame.payload[0]
    if frame.kind == Kind.PUSH_PROMISE:
        start += 4
    elif frame.flags & PRIORITY:
        start += 5
    return frame.payload[start:end] if start <= end else None
