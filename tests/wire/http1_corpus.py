"""Conversations in HTTP/1, each with what an observer says of it; short, for many cuts of each are tried."""

from __future__ import annotations

from meshtx.wire.http_events import Event, GaveUp, RequestHead, ResponseEnd, ResponseHead, Upgraded
from tests.wire.exchanges import Exchange, request_head

GET = b"GET /a?secret=1 HTTP/1.1\r\nHost: web\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


def asked(index: int = 0, method: str = "GET", authority: str = "web", path: str = "/a") -> RequestHead:
    return request_head(index, method, authority, path)


def answered(index: int = 0, length: int = 2, status: int = 200) -> list[Event]:
    return [ResponseHead(index, status), ResponseEnd(index, length)]


CORPUS: dict[str, tuple[Exchange, list[Event]]] = {
    "keep-alive": (
        [("C", GET), ("S", OK), ("C", GET), ("S", OK)],
        [asked(), *answered(), asked(1), *answered(1)],
    ),
    "pipelined": (
        [
            ("C", GET + b"HEAD /b HTTP/1.1\r\nHost: web\r\n\r\n"),
            ("S", OK + b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
        ],
        [asked(), asked(1, "HEAD", path="/b"), *answered(), *answered(1, 0)],
    ),
    "chunked both ways": (
        [
            ("C", b'POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;x="y"\r\nq\r\n0\r\nA: b\r\n\r\n'),
            ("S", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\nA \r\n0123456789\r\n00\r\n\r\n"),
        ],
        [asked(method="POST", authority=""), *answered(length=10)],
    ),
    "until the end": (
        [("C", b"GET /a HTTP/1.0\r\nHost: web\r\n\r\n"), ("S", b"HTTP/1.0 200 OK\r\n\r\nall of it\r\n\r\n")],
        [asked(), *answered(length=13)],
    ),
    "expectation": (
        [
            ("C", b"PUT /a HTTP/1.1\r\nHost: web\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"),
            ("S", b"HTTP/1.1 100 Continue\r\n\r\n"),
            ("C", b"abc"),
            ("S", b"HTTP/1.1 103 Hint\r\nLink: x\r\n\r\nHTTP/1.1 201\r\nContent-Length: 0\r\n\r\n"),
        ],
        [asked(method="PUT"), *answered(length=0, status=201)],
    ),
    "no bodies": (
        [
            ("C", b"\r\n\r\n" + GET + b"\r\n" + GET),
            ("S", b"HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\nHTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ],
        [asked(), asked(1), *answered(0, 0, 304), *answered(1, 0, 204)],
    ),
    "websocket": (
        [
            ("C", b"GET /a HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
            ("S", b"HTTP/1.1 101 Up\r\nUpgrade: websocket\r\n\r\n\x81\x02hi"),
            ("C", b"\x81\x82zzzz"),
        ],
        [asked(), ResponseHead(0, 101), Upgraded(0)],
    ),
    "tunnel": (
        [
            ("C", b"CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\n\x16\x03\x01"),
            ("S", b"HTTP/1.1 200 Connected\r\n\r\n\x16\x03\x03"),
            ("C", b"\x17\x03"),
        ],
        [asked(method="CONNECT", authority="db:5432", path=""), ResponseHead(0, 200), Upgraded(0)],
    ),
    "declined upgrade": (
        [
            ("C", b"POST /a HTTP/1.1\r\nHost: web\r\nUpgrade: h2c\r\nContent-Length: 1\r\n\r\nx" + GET),
            ("S", OK + OK),
        ],
        [asked(method="POST"), ResponseHead(0, 200), asked(1), ResponseEnd(0, 2), *answered(1)],
    ),
    "garbage behind a good request": (
        [("C", GET), ("S", OK), ("C", GET + b"\x00\x01 nonsense\r\n\r\n"), ("S", OK)],
        [asked(), *answered(), asked(1), GaveUp("malformed request line")],
    ),
    "cut in the middle": (
        [("C", GET + GET), ("S", b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf")],
        [asked(), asked(1), ResponseHead(0, 200), ResponseEnd(0, 4, reset=-1), ResponseEnd(1, 0, reset=-1)],
    ),
    "bad chunk": (
        [("C", GET), ("S", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi!\r\n0\r\n\r\n")],
        [asked(), ResponseHead(0, 200), GaveUp("a line of the chunked coding is too long")],
    ),
}
