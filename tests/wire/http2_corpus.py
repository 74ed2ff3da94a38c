"""Conversations in HTTP/2, each with what an observer says of it; short, for many cuts of each are tried."""

from __future__ import annotations

from collections.abc import Sequence

from hpack import Encoder

from meshtx.wire.http2_frames import ACK, END_HEADERS, END_STREAM, PADDED, PRIORITY, Kind
from meshtx.wire.http_events import Event, GaveUp, RequestHead, ResponseEnd, ResponseHead
from meshtx.wire.sniff import PREFACE
from tests.wire.exchanges import Exchange, request_head

PING = 6
WINDOW_UPDATE = 8
Pairs = Sequence[tuple[str, str]]


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def plain(*pairs: tuple[str, str]) -> bytes:
    """Return a header block that uses no dynamic table."""
    return Encoder().encode([(name, value, True) for name, value in pairs], huffman=False)


def setting(name: int, value: int) -> bytes:
    return name.to_bytes(2, "big") + value.to_bytes(4, "big")


def headers(stream: int, block: bytes, flags: int = 0) -> bytes:
    return frame(Kind.HEADERS, END_HEADERS | flags, stream, block)


def data(stream: int, payload: bytes, flags: int = 0) -> bytes:
    return frame(Kind.DATA, flags, stream, payload)


def reset(stream: int, code: int) -> bytes:
    return frame(Kind.RST_STREAM, 0, stream, code.to_bytes(4, "big"))


SETTINGS = frame(Kind.SETTINGS)
SETTINGS_ACK = frame(Kind.SETTINGS, ACK)
HELLO = PREFACE + SETTINGS
GET = plain((":method", "GET"), (":path", "/a?secret=1"))
OK = plain((":status", "200"))
BEGIN: Exchange = [("C", HELLO), ("S", SETTINGS)]


def asked(index: int = 0, method: str = "GET", authority: str = "", path: str = "/a") -> RequestHead:
    return request_head(index, method, authority, path)


CORPUS: dict[str, tuple[Exchange, list[Event]]] = {
    "one request": (
        [
            ("C", HELLO + SETTINGS_ACK + headers(1, GET, END_STREAM)),
            ("S", SETTINGS + SETTINGS_ACK + headers(1, OK) + data(1, b"hello") + data(1, b"", END_STREAM)),
        ],
        [asked(), ResponseHead(0, 200), ResponseEnd(0, 5)],
    ),
    "grpc": (
        [
            ("C", HELLO + headers(1, GET) + data(1, b"q", END_STREAM)),
            (
                "S",
                SETTINGS
                + frame(PING, payload=b"12345678")
                + headers(1, OK)
                + data(1, b"\x02hipp", PADDED)
                + frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1")
                + headers(1, plain(("grpc-status", "12")), END_STREAM),
            ),
        ],
        [asked(), ResponseHead(0, 200), ResponseEnd(0, 2, 12)],
    ),
    "trailers only, interleaved": (
        [
            ("C", HELLO + headers(1, GET, END_STREAM) + headers(3, GET, END_STREAM)),
            (
                "S",
                SETTINGS
                + headers(3, plain((":status", "200"), ("grpc-status", "5")), END_STREAM)
                + headers(1, OK, END_STREAM),
            ),
        ],
        [
            asked(),
            asked(1),
            ResponseHead(1, 200),
            ResponseEnd(1, 0, 5),
            ResponseHead(0, 200),
            ResponseEnd(0, 0),
        ],
    ),
    "padding, priority, continuation": (
        [
            (
                "C",
                HELLO
                + frame(Kind.HEADERS, PADDED | PRIORITY | END_STREAM, 1, b"\x02\0\0\0\0\x10" + GET[:3] + b"pp")
                + frame(Kind.CONTINUATION, 0, 1, GET[3:4])
                + frame(Kind.CONTINUATION, END_HEADERS, 1, GET[4:]),
            ),
            (
                "S",
                SETTINGS
                + headers(1, plain((":status", "103")))
                + headers(1, OK)
                + data(1, b"\x01p", PADDED | END_STREAM),
            ),
        ],
        [asked(), ResponseHead(0, 200), ResponseEnd(0, 0)],
    ),
    "resets": (
        [
            ("C", HELLO + headers(1, GET) + headers(3, GET) + reset(1, 8)),
            ("S", SETTINGS + headers(1, OK, END_STREAM) + headers(3, OK) + data(3, b"abc") + reset(3, 2) + reset(3, 2)),
        ],
        [asked(), asked(1), ResponseEnd(0, 0, reset=8), ResponseHead(1, 200), ResponseEnd(1, 3, reset=2)],
    ),
    "cut": (
        [
            ("C", HELLO + headers(1, GET) + headers(3, GET)),
            ("S", SETTINGS + headers(3, OK) + data(3, b"abcdef")[:-2]),
        ],
        [asked(), asked(1), ResponseHead(1, 200), ResponseEnd(0, 0, reset=-1), ResponseEnd(1, 4, reset=-1)],
    ),
    "going away": (
        [
            ("C", HELLO + headers(1, GET) + headers(3, GET)),
            ("S", SETTINGS + frame(Kind.GOAWAY, payload=b"\0\0\0\1\0\0\0\0bye") + headers(1, OK, END_STREAM)),
        ],
        [asked(), asked(1), ResponseEnd(1, 0, reset=7), ResponseHead(0, 200), ResponseEnd(0, 0)],
    ),
    "trailers of a request, a push": (
        [
            ("C", HELLO + headers(1, GET) + data(1, b"x") + headers(1, plain(("a", "b")), END_STREAM)),
            (
                "S",
                SETTINGS
                + frame(Kind.PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2" + GET)
                + headers(2, OK)
                + data(2, b"pushed", END_STREAM)
                + headers(1, OK, END_STREAM),
            ),
        ],
        [asked(), ResponseHead(0, 200), ResponseEnd(0, 0)],
    ),
    "an answer in HTTP/1": (
        [("C", HELLO + headers(1, GET)), ("S", b"HTTP/1.1 400 Bad Request\r\n\r\n")],
        [asked(), GaveUp("the first frame is not SETTINGS")],
    ),
    "garbage behind a good request": (
        [("C", HELLO + headers(1, GET) + headers(3, b"\xff\xff\xff\xff\xff\xff") + headers(5, GET)), ("S", SETTINGS)],
        [asked(), GaveUp("malformed header block")],
    ),
}
