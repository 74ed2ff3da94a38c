"""Frames of HTTP/2 and header blocks as bytes, well formed or not (RFC 9113, RFC 7541)."""

from __future__ import annotations

import struct

from hpack.hpack import encode_integer
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4

GET = b"\x82\x86\x84\x41\x01a"
"""A header block: GET http://a/."""
CANCEL = b"\0\0\0\x08"

_HUFFMAN = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """Return one frame."""
    size = len(payload)
    return struct.pack("!HBBBL", size >> 8, size & 0xFF, kind, flags, stream) + payload


OPENING = PREFACE + frame(SETTINGS)


def request(stream: int = 1, more: bytes = b"", flags: int = END_HEADERS) -> bytes:
    """Return the HEADERS of a request.

    :param more: what its block has behind the pseudo-fields.
    """
    return frame(HEADERS, flags, stream, GET + more)


def trailers(block: bytes, stream: int = 1) -> bytes:
    """Return HEADERS that end a stream."""
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, block)


def literal(name: bytes, value: bytes, *, huffman: bool = False) -> bytes:
    """Return a field that is not indexed, its value coded as asked (RFC 7541, section 6.2.2)."""
    return b"\0" + _text(name, huffman=False) + _text(value, huffman=huffman)


def _text(value: bytes, *, huffman: bool) -> bytes:
    coded = _HUFFMAN.encode(value) if huffman else value
    length = encode_integer(len(coded), 7)
    length[0] |= 0x80 if huffman else 0
    return bytes(length) + coded
