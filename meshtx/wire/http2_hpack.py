"""HPACK, read only (RFC 7541): the decoder of one direction's header blocks.

Decoding is nearly all that observing HTTP/2 costs, and the hpack package takes twice as long: it makes values of
several classes on the way, and goes through Huffman codes in half bytes. Its static table and its table of
codes are used here; tests compare the two decoders.
"""

from __future__ import annotations

from collections import deque

from hpack.huffman_table import HUFFMAN_COMPLETE, HUFFMAN_EMIT_SYMBOL, HUFFMAN_FAIL, HUFFMAN_TABLE
from hpack.table import HeaderTable

from meshtx.wire.http_events import Pairs

DEFAULT_TABLE = 4096
"""Bytes of the table before anybody has said anything (RFC 9113, section 6.5.2)."""
ENTRY = 32
"""Bytes that an entry counts beside its name and value (RFC 7541, section 4.1)."""
MAX_STEPS = 2**13
"""Steps of Huffman decoding that are remembered, for all connections; text has fewer."""

_MAX_INTEGER = 5
"""Bytes of an integer's encoding; more would pass any bound."""
_STATIC: Pairs = list(HeaderTable.STATIC_TABLE)


class BadBlock(Exception):
    """The block is malformed, or breaks a bound; the table is not what the encoder's is any more."""


class HpackDecoder:
    """Decodes the blocks of one direction, in their order.

    :param limit: bytes of one block's fields, counted as in the table.
    :ivar size: bytes that the table may have now, as the encoder said.
    :ivar allowed: bytes that the encoder may choose.
    """

    def __init__(self, limit: int) -> None:
        self.size = DEFAULT_TABLE
        self.allowed = DEFAULT_TABLE
        self._limit = limit
        self._entries: deque[tuple[bytes, bytes]] = deque()
        self._used = 0

    def decode(self, block: bytes) -> Pairs:
        """Return the fields of a block, as they are on the wire.

        :raises BadBlock: there is none that could follow.
        """
        fields: Pairs = []
        pos, end, unfolded = 0, len(block), 0
        try:
            while pos < end:
                first = block[pos]
                pos += 1
                if first >= 0x80:
                    index = first & 0x7F
                    if index == 0x7F:
                        index, pos = _integer(block, pos, index)
                    field = self._entry(index)
                elif first >= 0x40:
                    field, pos = self._literal(block, pos, first & 0x3F, 0x3F)
                    self._add(field)
                elif first < 0x20:
                    field, pos = self._literal(block, pos, first & 0x0F, 0x0F)
                else:
                    pos = self._resize(block, pos, first & 0x1F, begun=bool(fields))
                    continue
                unfolded += len(field[0]) + len(field[1]) + ENTRY
                if unfolded > self._limit:
                    raise BadBlock("too many bytes of fields")
                fields.append(field)
        except IndexError:
            raise BadBlock("a block ends too early, or refers to no entry") from None
        if self.size > self.allowed:
            raise BadBlock("the table was not made smaller")
        return fields

    def _literal(self, block: bytes, pos: int, index: int, most: int) -> tuple[tuple[bytes, bytes], int]:
        if index == most:
            index, pos = _integer(block, pos, index)
        if index:
            name = self._entry(index)[0]
        else:
            name, pos = _string(block, pos)
        value, pos = _string(block, pos)
        return (name, value), pos

    def _entry(self, index: int) -> tuple[bytes, bytes]:
        if not index:
            raise BadBlock("there is no entry 0")
        return _STATIC[index - 1] if index <= len(_STATIC) else self._entries[index - len(_STATIC) - 1]

    def _resize(self, block: bytes, pos: int, size: int, *, begun: bool) -> int:
        if size == 0x1F:
            size, pos = _integer(block, pos, size)
        if begun or size > self.allowed:
            raise BadBlock("a change of the table's size behind a field, or to too much")
        self.size = size
        self._shrink()
        return pos

    def _add(self, field: tuple[bytes, bytes]) -> None:
        """Put an entry first; one that is larger than the table empties it (RFC 7541, section 4.4)."""
        self._entries.appendleft(field)
        self._used += len(field[0]) + len(field[1]) + ENTRY
        if self._used > self.size:
            self._shrink()

    def _shrink(self) -> None:
        while self._used > self.size:
            name, value = self._entries.pop()
            self._used -= len(name) + len(value) + ENTRY


def _integer(block: bytes, pos: int, number: int) -> tuple[int, int]:
    """Read the rest of an integer whose first byte was full (RFC 7541, section 5.1)."""
    for shift in range(0, 7 * _MAX_INTEGER, 7):
        byte = block[pos]
        pos += 1
        number += (byte & 0x7F) << shift
        if byte < 0x80:
            return number, pos
    raise BadBlock("an integer is too long")


def _string(block: bytes, pos: int) -> tuple[bytes, int]:
    first = block[pos]
    pos += 1
    size = first & 0x7F
    if size == 0x7F:
        size, pos = _integer(block, pos, size)
    end = pos + size
    if end > len(block):
        raise BadBlock("a string ends too early")
    raw = block[pos:end]
    return huffman(raw) if first >= 0x80 else raw, end


_Step = tuple[int, bytes, bool]
_steps: dict[int, _Step] = {}


def huffman(raw: bytes) -> bytes:
    """Decode a string (RFC 7541, section 5.2).

    :raises BadBlock: it is none.
    """
    state, whole = 0, True
    decoded: list[bytes] = []
    for byte in raw:
        step = _steps.get(state | byte)
        if step is None:
            step = _find_step(state, byte)
        state, symbols, whole = step
        decoded.append(symbols)
    if not whole:
        raise BadBlock("a Huffman code ends too early")
    return b"".join(decoded)


def _find_step(state: int, byte: int) -> _Step:
    """Take a byte's two steps through hpack's table, and remember them as one.

    :param state: shifted by 8 bits.
    """
    node, symbols, flags = state >> 8, b"", 0
    for half in (byte >> 4, byte & 0x0F):
        node, flags, symbol = HUFFMAN_TABLE[node << 4 | half]
        if flags & HUFFMAN_FAIL:
            raise BadBlock("no Huffman code")
        if flags & HUFFMAN_EMIT_SYMBOL:
            symbols += bytes([symbol])
    if len(_steps) >= MAX_STEPS:
        _steps.clear()
    step = _steps[state | byte] = node << 8, symbols, bool(flags & HUFFMAN_COMPLETE)
    return step
