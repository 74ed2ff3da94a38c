"""RESP, what Redis clients and servers say to each other: bytes in, values out.

A value is a type (1 byte), a line, and for some types what the line announces: so many bytes, or so
many values (https://redis.io/docs/latest/develop/reference/protocol-spec/). Only whole values are
reported, and of each only its type, its first word and its size: the rest is passed over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_LINE = 64 * 1024
"""Bytes of a line; an error message or a number is one."""
MAX_WORD = 32
"""Bytes of the first word; the longest command has fewer."""

_LINE = re.compile(rb"([-+:_,#(])[^\r\n]*|([$=!*~>%])(-1|[0-9]{1,15})")
_BULK = b"$=!"


@dataclass(frozen=True, slots=True)
class Value:
    """One whole value.

    :param kind: its type, e.g. ``*`` for a list (a command is one) or ``-`` for an error.
    :param word: its first string, if it is or begins with one: of a command, its name.
    :param size: bytes on the wire.
    """

    kind: str
    word: str
    size: int


@dataclass(frozen=True, slots=True)
class Malformed:
    """This is not RESP. Nothing comes after it."""


class RespReader:
    """Reads one direction; holds at most a line and a word."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._word = bytearray()
        self._word_left = 0
        self._bulk = 0
        self._left = 1
        self._kind = ""
        self._size = 0
        self._broken = False

    def receive_data(self, data: bytes) -> list[Value | Malformed]:
        """Return the values that these bytes complete, in order."""
        values: list[Value | Malformed] = []
        pos = 0
        while pos < len(data) and not self._broken:
            taken = self._take_bulk(data, pos) if self._bulk else self._take_line(data, pos)
            pos += taken
            self._size += taken
            if self._broken:
                values.append(Malformed())
            elif not self._left and not self._bulk:
                values.append(self._whole())
        return values

    def _take_bulk(self, data: bytes, pos: int) -> int:
        taken = min(self._bulk, len(data) - pos)
        word = min(self._word_left, taken)
        self._word += data[pos : pos + word]
        self._word_left -= word
        self._bulk -= taken
        return taken

    def _take_line(self, data: bytes, pos: int) -> int:
        end = data.find(b"\n", pos)
        part = data[pos : end + 1] if end >= 0 else data[pos:]
        self._line += part[: MAX_LINE + 1]
        if len(self._line) > MAX_LINE:
            self._broken = True
        elif end >= 0:
            self._read_line(bytes(self._line))
            self._line.clear()
        return len(part)

    def _read_line(self, line: bytes) -> None:
        read = _LINE.fullmatch(line[:-2]) if line.endswith(b"\r\n") else None
        if read is None:
            self._broken = True
            return
        self._kind = self._kind or line[:1].decode()
        self._left -= 1
        if read[2] is None or read[3] == b"-1":
            return
        count = int(read[3])
        if read[2] in _BULK:
            self._bulk = count + 2
            self._word_left = 0 if self._word else min(count, MAX_WORD)
        else:
            self._left += 2 * count if read[2] == b"%" else count

    def _whole(self) -> Value:
        value = Value(self._kind, self._word.decode("ascii", "backslashreplace"), self._size)
        self._word.clear()
        self._kind, self._size, self._left = "", 0, 1
        return value
