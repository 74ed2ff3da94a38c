"""Hostile streams of HTTP/1 and HTTP/2, and hostile answers, each about a megabyte: for who reads along.

`STREAMS` come from a client. `ANSWERS` come from a workload that a client has asked for them (`workload`): a stranger
may be the server of a connection as well.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import count

from tests.mesh.strangers.frames import (
    ACK,
    CANCEL,
    CONTINUATION,
    DATA,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    OPENING,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    literal,
    request,
    trailers,
)

MEGABYTE = 2**20
OTHER = 0x63
"""A type of frames that nobody knows."""

Make = Callable[[float], bytes]
"""Returns the bytes, by the share of a megabyte that is asked for."""


def again(part: bytes, first: bytes = b"", size: int = MEGABYTE) -> Make:
    """Return what repeats a part, behind what comes first."""
    return lambda scale: first + part * max(1, int(size * scale) // len(part))


def streams(*frames: Callable[[int], bytes]) -> Make:
    """Return frames of one stream after another."""

    def make(scale: float) -> bytes:
        parts, left = [OPENING], int(MEGABYTE * scale)
        for stream in count(1, 2):
            part = b"".join(each(stream) for each in frames)
            left -= len(part)
            if left < 0:
                return b"".join(parts)
            parts.append(part)
        raise AssertionError

    return make


_OPEN = OPENING + request()
_POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
_FIELDS = b"".join(b"a%d: %b\r\n" % (number, b"b" * 200) for number in range(250))

STREAMS: dict[str, Make] = {
    "HPACK, indexed fields": again(trailers(b"\x83" * 250), _OPEN),
    "HPACK, fields of the table": again(trailers(b"\xbe" * 250), _OPEN + trailers(b"\x40\x01a\x20" + b"b" * 32)),
    "HPACK, size updates": again(trailers(b"\x20" * 60_000 + b"\x82"), _OPEN),
    "HPACK, Huffman": again(trailers(literal(b"a", b"!" * 60_000, huffman=True)), _OPEN),
    "HPACK, empty fields": again(trailers(b"\0\0\0" * 250), _OPEN),
    "HPACK, fields before a long one": again(trailers(b"\0\0\0" * 240 + literal(b"a", b"b" * 40_000)), _OPEN),
    "CONTINUATION, empty": again(frame(CONTINUATION, 0, 1), OPENING + frame(HEADERS, 0, 1)),
    "CONTINUATION, 60 of a block": again(
        frame(HEADERS, 0, 1)
        + frame(CONTINUATION, 0, 1, b"\x82" * 30) * 59
        + frame(CONTINUATION, END_HEADERS, 1, b"\x82"),
        OPENING,
    ),
    "SETTINGS": again(frame(SETTINGS), OPENING, 11 * MEGABYTE),
    "SETTINGS, long": again(frame(SETTINGS, payload=b"\0\1\0\0\x10\0" * 2700), OPENING, 11 * MEGABYTE),
    "SETTINGS, acknowledged": again(frame(SETTINGS, ACK), OPENING),
    "rapid reset": streams(lambda stream: request(stream) + frame(RST_STREAM, 0, stream, CANCEL)),
    "RST_STREAM": again(frame(RST_STREAM, 0, 1, CANCEL), _OPEN),
    "PING": again(frame(PING, payload=bytes(8)), OPENING),
    "PRIORITY": again(frame(PRIORITY, 0, 1, bytes(5)), OPENING),
    "WINDOW_UPDATE": again(frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1"), OPENING),
    "frames of no known type": again(frame(OTHER), OPENING),
    "DATA, empty": again(frame(DATA, 0, 1), _OPEN),
    "DATA, of one byte": again(frame(DATA, 0, 1, b"a"), _OPEN),
    "huge heads, HTTP/2": streams(lambda stream: request(stream, literal(b"a", b"b" * 16_000))),
    "huge heads, HTTP/1": again(b"GET / HTTP/1.1\r\n" + _FIELDS + b"\r\n"),
    "head without an end": again(b"a" * 1024, b"GET / HTTP/1.1\r\na: "),
    "chunks of one byte": again(b"1\r\na\r\n", _POST),
    "empty lines": again(b"\r\n\r\n"),
    "pipelined requests": again(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
}


def asking_for(answer: str) -> Make:
    """Return the request, HTTP/1 or HTTP/2 as the answer is, for one of `ANSWERS`."""
    path = f"/answer/{answer.replace(' ', '-')}/".encode()
    if answer.startswith("HTTP/1"):
        asked = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path
    else:
        many = b"".join(request(stream) for stream in range(3, 1601, 2))
        asked = OPENING + frame(HEADERS, END_HEADERS, 1, b"\x82\x86\x41\x01a\x04" + bytes([len(path)]) + path) + many
    return lambda _: asked


_SETTLED = frame(SETTINGS) + frame(SETTINGS, ACK)
_ANSWER = frame(HEADERS, END_HEADERS, 1, b"\x88")
ANSWERS: dict[str, Make] = {
    "HTTP/1 1xx": again(b"HTTP/1.1 100 \r\n\r\nHTTP/1.1 102 \r\n\r\n"),
    "HTTP/1 chunks of one byte": again(b"1\r\na\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "HTTP/2 GOAWAY": again(frame(GOAWAY, payload=b"\x7f\xff\xff\xff\0\0\0\0"), _SETTLED),
    "HTTP/2 SETTINGS, acknowledged": again(frame(SETTINGS, ACK), _SETTLED),
    "HTTP/2 DATA, empty": again(frame(DATA, 0, 1), _SETTLED + _ANSWER),
    "HTTP/2 HPACK, indexed fields": again(frame(HEADERS, END_HEADERS, 1, b"\x88" * 250), _SETTLED + _ANSWER),
}


def noise(scale: float) -> bytes:
    """Return what is no protocol."""
    return b"\0" + random.Random(1).randbytes(int(MEGABYTE * scale))


def endless_proxy_line(scale: float) -> bytes:
    """Return a PROXY header of version 1 that does not end."""
    return b"PROXY TCP4 " + b"1" * int(MEGABYTE * scale)
