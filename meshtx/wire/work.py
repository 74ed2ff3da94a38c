"""What the reading of one connection may cost in one call, counted and not timed.

Hostile bytes cost up to a hundred times what honest ones do: a header block of references to a table, frames without
content, chunks of one byte. So a parser counts what it does, in units of about a microsecond, and gives up past
`MAX_WORK`. The count is the same on every machine and however busy it is; the length of a read bounds what honest bytes
can cost.
"""

from __future__ import annotations

MAX_WORK = 11_000
"""Units of one call: more than a read of 240 KiB takes that is full of gRPC messages of ten bytes, or 400 requests with
eight fields each in Huffman's code."""


class Work:
    """The work that one call may still do.

    :ivar left: units; below zero: give up.
    """

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_WORK

    def renew(self) -> None:
        """Begin another call."""
        self.left = MAX_WORK
