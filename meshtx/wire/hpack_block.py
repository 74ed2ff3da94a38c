"""Header blocks of HPACK, decoded at a cost that their length bounds (RFC 7541).

The tables, the integers and the Huffman code are those of the hpack library. Its own loop copies the rest of a block
with every literal and takes any number of size updates, so that a block of 64 KiB could cost 100 ms.
"""

from __future__ import annotations

from hpack import HPACKDecodingError, InvalidTableSizeError, OversizedHeaderListError
from hpack.hpack import decode_integer
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

from meshtx.wire.http_events import MAX_HEAD, Pairs
from meshtx.wire.work import Work

MAX_FIELDS = 256
"""Fields of one block, as of a head of HTTP/1."""
MAX_UPDATES = 2
"""Size updates at the begin of a block: there is no use for more (section 4.2)."""

_OCTETS = 6
"""Of the Huffman code that are decoded for a unit of work; a field is another."""
_OVERHEAD = 32
"""What a field counts beside its bytes (section 4.1)."""
_LONGEST_INTEGER = 16
"""Octets; hpack refuses an integer before that."""


class TooMuchWork(Exception):
    """To decode the block would cost more than is left."""


class BlockDecoder:
    """Decodes the blocks of one direction, each of which may change the table for those behind it.

    :param work: what may still be done; it is charged.
    :ivar max_table_size: bytes; what the sender may enlarge its table to.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._table = HeaderTable()
        self.max_table_size = self._table.maxsize

    @property
    def table_size(self) -> int:
        """Bytes that the table may have now, as RFC 7541 counts them."""
        return self._table.maxsize

    def decode(self, block: bytes) -> Pairs:
        """Return the fields of a whole block, in the order of the wire; names and values as bytes.

        After an error the table is of no use any more.

        :raises hpack.HPACKError: it is malformed, or too large when decoded.
        :raises TooMuchWork: see there.
        """
        fields: Pairs = []
        table = self._table
        pos, size, room = self._updates(block), len(block), MAX_HEAD
        while pos < size:
            first = block[pos]
            if first >= 0x80:  # an indexed field (section 6.1)
                index, pos = _integer(block, pos, 7)
                field = table.get_by_index(index)
            elif first >= 0x40:  # a literal that is added to the table (section 6.2.1)
                field, pos = self._literal(block, pos, 6)
                table.add(*field)
            elif first >= 0x20:
                raise HPACKDecodingError("a size update behind the begin of the block")
            else:
                field, pos = self._literal(block, pos, 4)
            fields.append(field)
            room -= len(field[0]) + len(field[1]) + _OVERHEAD
            if room < 0 or len(fields) > MAX_FIELDS:
                raise OversizedHeaderListError("too many fields, or too large")
        if table.maxsize > self.max_table_size:
            raise InvalidTableSizeError("the table was not made as small as it has to be")
        self._work.left -= len(fields)
        return fields

    def _updates(self, block: bytes) -> int:
        """Change the table's size as the begin of a block says (section 6.3); return the position behind that."""
        pos = 0
        for _ in range(MAX_UPDATES):
            if block[pos : pos + 1] and 0x20 <= block[pos] < 0x40:
                size, pos = _integer(block, pos, 5)
                if size > self.max_table_size:
                    raise InvalidTableSizeError("the table was made larger than it may be")
                self._table.maxsize = size
        return pos

    def _literal(self, block: bytes, pos: int, bits: int) -> tuple[tuple[bytes, bytes], int]:
        self._work.left -= 1  # it takes twice what an indexed field does
        index, pos = _integer(block, pos, bits)
        if index:
            name = self._table.get_by_index(index)[0]
        else:
            name, pos = self._string(block, pos)
        value, pos = self._string(block, pos)
        return (name, value), pos

    def _string(self, block: bytes, pos: int) -> tuple[bytes, int]:
        """Return a string, decoded, and the position behind it (section 5.2)."""
        if pos >= len(block):
            raise HPACKDecodingError("the block ends within a field")
        huffman = block[pos] >= 0x80
        length, pos = _integer(block, pos, 7)
        end = pos + length
        if end > len(block):
            raise HPACKDecodingError("the block ends within a string")
        value = block[pos:end]
        return self._huffman(value) if huffman else value, end

    def _huffman(self, value: bytes) -> bytes:
        self._work.left -= len(value) // _OCTETS
        if self._work.left < 0:
            raise TooMuchWork
        return decode_huffman(value)


def _integer(block: bytes, pos: int, bits: int) -> tuple[int, int]:
    """Return an integer of a prefix of so many bits, and the position behind it (section 5.1)."""
    most = (1 << bits) - 1
    number = block[pos] & most
    if number != most:
        return number, pos + 1
    number, used = decode_integer(block[pos : pos + _LONGEST_INTEGER], bits)
    return number, pos + used
