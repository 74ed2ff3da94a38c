"""The little of HTTP/1.1 that the load needs."""

from __future__ import annotations

import socket

HEAD_END = b"\r\n\r\n"


def request(host: str, path: str = "/") -> bytes:
    """Return a request, after which the connection lives on."""
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def body_length(head: bytes) -> int:
    """Return the length of the body that a head announces."""
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.split(b"\r\n", 1)[0]) if found else 0


def whole_length(data: bytes) -> int | None:
    """Return the length of the message that begins here, or nothing while its head is not complete."""
    head, end, _ = data.partition(HEAD_END)
    return len(head) + len(end) + body_length(head) if end else None


def read_head(connection: socket.socket) -> tuple[bytes, int]:
    """Read a head, and return it with the number of bytes of the body that came along.

    :raises ConnectionError: the connection ended first; at its end, between messages, the head is empty.
    """
    data = b""
    while HEAD_END not in data:
        more = connection.recv(65536)
        if not more:
            if data:
                raise ConnectionError("it ended within a head")
            return b"", 0
        data += more
    head, _, body = data.partition(HEAD_END)
    return head, len(body)
