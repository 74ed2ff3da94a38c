"""The transport header: what Linkerd's proxies send first inside TLS under ALPN ``transport.l5d.io/v1``.

::

    offset 0    "transport.l5d.io/v1" CR LF CR LF     23 bytes
    offset 23   N, big-endian                         4 bytes
    offset 27   Header, protobuf                      N bytes
    offset 27+N the application's bytes

It goes from client to server, once, and has no answer. Bytes in, header out; the message is in
``messages/transport_header.proto``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from meshtx.wire.header import HeaderParser
from meshtx.wire.malformed import Malformed
from meshtx.wire.messages.transport_header_pb2 import Header, SessionProtocol

ALPN = "transport.l5d.io/v1"
"""The protocol under which the header is sent, and must be."""

PREFACE = b"transport.l5d.io/v1\r\n\r\n"

MAX_HEADER = 4096
"""Bytes of the message: Linkerd's proxies take 64 KiB, the longest that they send is under 300."""

_START = len(PREFACE) + 4
_NAME = re.compile(r"[A-Za-z0-9._-]{1,254}")


@dataclass(frozen=True, slots=True)
class TransportHeader:
    """Where the bytes behind it are meant to go.

    :param port: of the workload, 1 to 65535.
    :param name: empty, or the DNS name that a gateway is asked for.
    :param protocol: of the session: empty (opaque), ``http1`` or ``http2``.
    """

    port: int
    name: str = ""
    protocol: str = ""


def encode_header(header: TransportHeader) -> bytes:
    """Return preface, length and message.

    :raises ValueError: a field is not as `TransportHeader` says.
    """
    if problem := _problem(header):
        raise ValueError(problem)
    message = Header(port=header.port, name=header.name)
    if header.protocol:
        kind = {"http1": SessionProtocol(http1={}), "http2": SessionProtocol(http2={})}[header.protocol]
        message.session_protocol.CopyFrom(kind)
    payload = message.SerializeToString()
    return PREFACE + len(payload).to_bytes(4, "big") + payload


class TransportHeaderParser(HeaderParser[TransportHeader]):
    """Reads one header."""

    def _read(self) -> TransportHeader | Malformed | None:
        if not PREFACE.startswith(self._held[: len(PREFACE)]):
            return Malformed("no transport header")
        if len(self._held) < _START:
            return None
        size = int.from_bytes(self._held[len(PREFACE) : _START], "big")
        if size > MAX_HEADER:
            return Malformed(f"transport header of {size} bytes, at most {MAX_HEADER}")
        if len(self._held) < _START + size:
            return None
        self._end = _START + size
        return _decode(bytes(self._held[_START : self._end]))


def _decode(payload: bytes) -> TransportHeader | Malformed:
    message = Header()
    try:
        message.ParseFromString(payload)
    except DecodeError:
        return Malformed("transport header that is no protobuf message")
    header = TransportHeader(message.port, message.name, message.session_protocol.WhichOneof("kind") or "")
    problem = _problem(header)
    return Malformed(problem) if problem else header


def _problem(header: TransportHeader) -> str:
    if not 1 <= header.port <= 65535:
        return f"transport header with port {header.port}"
    if header.name and not _NAME.fullmatch(header.name):
        return "transport header with a name that is no DNS name"
    if header.protocol not in {"", "http1", "http2"}:
        return f"transport header with session protocol {header.protocol!r}"
    return ""
