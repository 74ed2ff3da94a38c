"""Leg frames: application connections, one after another, on one TLS connection (ALPN ``meshtx/1``).

A frame is a type (1 byte), the payload's length (3 bytes, big-endian) and the payload. DATA may be long, and is handed
on as it comes; every other frame fits one TLS record. Specified in docs/legs.md::

    1 OPEN    a message: port, authority, client, protocol   client to server
    2 ACCEPT  nothing                                        server to client
    3 REFUSE  the reason, printable ASCII                    server to client
    4 DATA    the application's bytes, at least one
    5 FIN     nothing: the sender's direction has ended
    6 RESET   nothing: ends the leg
    7 RETIRE  nothing: no further OPEN, please               server to client

Bytes in, events out; no I/O, no clock. Which frame may come when is in `leg_state`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from struct import Struct

from google.protobuf.message import DecodeError

from meshtx.wire.address import IP, Address, parse_ip
from meshtx.wire.malformed import Malformed
from meshtx.wire.messages.leg_open_pb2 import Open as OpenMessage

ALPN = "meshtx/1"
"""The protocol under which frames are sent."""

HEADER = 4
"""Bytes before the payload."""

MAX_FRAME = 2**14
"""Bytes of a frame that is held until it is whole: as many as one TLS record has (RFC 8446, section 5.1)."""

MAX_PAYLOAD = MAX_FRAME - HEADER
"""Bytes of a payload that fits one record with its head."""

MAX_DATA = 2**24 - 1
"""Bytes of the application in one frame: as many as its length can say."""

MAX_TEXT = 320
"""Bytes of an authority: a name of 253, a port, room for brackets and a dot."""

MAX_WORD = 64
"""Bytes of a word: a protocol, how the source is known."""

MAX_REASON = 256
"""Bytes of the reason in REFUSE."""

HEAD = Struct(">I")
"""The four bytes before a payload, as one number: the type in the highest byte, then the length."""

_TEXT = re.compile(r"[\x21-\x7e]*")
_REASON = re.compile(rb"[\x20-\x7e]+")


class FrameType(IntEnum):
    """The first byte of a frame."""

    OPEN = 1
    ACCEPT = 2
    REFUSE = 3
    DATA = 4
    FIN = 5
    RESET = 6
    RETIRE = 7


DATA = int(FrameType.DATA) << 24
"""What is added to the length in `HEAD` of a DATA frame. These two are for who cannot afford a call a chunk."""

_LONGEST = DATA | MAX_DATA


@dataclass(frozen=True, slots=True)
class Open:
    """The client asks for a connection to the server's workload.

    :param port: 1 to 65535.
    :param authority: what the client's application asked for; may be empty.
    :param source: the client's own address, as far as the sender knows it.
    :param source_known: how the sender knows it, in a word.
    :param protocol: the application's protocol as the sender knows it; empty: unknown.
    """

    port: int
    authority: str = ""
    source: Address | None = None
    source_known: str = ""
    protocol: str = ""


@dataclass(frozen=True, slots=True)
class Accept:
    """The workload is connected."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """The workload is not connected, and nothing reached it.

    :param reason: printable ASCII, 1 to `MAX_REASON` bytes; `encode` makes it so.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of the application; neighbouring frames may come as one."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Fin:
    """The sender's direction has ended in order."""


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection was cut; so is the leg."""


@dataclass(frozen=True, slots=True)
class Retire:
    """The server asks for no further OPEN on this leg."""


Frame = Open | Accept | Refuse | Data | Fin | Reset | Retire
Event = Frame | Malformed

_EMPTY: dict[int, Frame] = {
    FrameType.ACCEPT: Accept(),
    FrameType.FIN: Fin(),
    FrameType.RESET: Reset(),
    FrameType.RETIRE: Retire(),
}
_ENCODED = {type(frame): HEAD.pack(kind << 24) for kind, frame in _EMPTY.items()}


def encode(frame: Frame) -> bytes:
    """Return the frame's bytes.

    :raises ValueError: a field of OPEN is not as its class says.
    """
    match frame:
        case Open():
            return _framed(FrameType.OPEN, _open_payload(frame))
        case Refuse(reason):
            return _framed(FrameType.REFUSE, _printable(reason))
        case Data(data):
            return encode_data(data)
        case _:
            return _ENCODED[type(frame)]


def encode_data(data: bytes) -> bytes:
    """Return DATA frames that hold these bytes: as few as there can be, none for none."""
    return b"".join(data_pieces(data))


def data_pieces(data: bytes) -> list[bytes | memoryview]:
    """Return the same in pieces: each frame's head with what fills a record, and the rest, which is not copied."""
    pieces: list[bytes | memoryview] = []
    for at in range(0, len(data), MAX_DATA):
        frame = memoryview(data)[at : at + MAX_DATA]
        pieces.append(HEAD.pack(DATA | len(frame)) + frame[:MAX_PAYLOAD])
        if len(frame) > MAX_PAYLOAD:
            pieces.append(frame[MAX_PAYLOAD:])
    return pieces


class FrameParser:
    """Reads one direction of a leg; holds at most one unfinished frame, and never one of DATA."""

    __slots__ = ("_broken", "_due", "_held", "_wanted")

    def __init__(self) -> None:
        self._held: bytes | bytearray = b""  # a buffer only while there is something in it
        self._wanted = HEADER
        self._due = 0
        self._broken = False

    @property
    def held(self) -> int:
        """Bytes kept."""
        return len(self._held)

    def plain(self, data: bytes) -> bytes | None:
        """Return the application's bytes if here are those of one DATA frame, all or a part of it, and nothing else.

        So it is most of the time; else they are still to be received.
        """
        size = len(data)
        if self._due:
            if size > self._due:
                return None
            self._due -= size
            return data
        size -= HEADER
        if size > 0 and not self._held and not self._broken:
            (head,) = HEAD.unpack_from(data)
            if head >= DATA | size and head <= _LONGEST:
                self._due = head - (DATA | size)
                return data[HEADER:]
        return None

    def take_head(self, data: bytes | memoryview, size: int) -> int:
        """Take the head of a DATA frame, if bytes that come next begin with one and have nothing else behind it.

        So its receiver copies the application's bytes alone.

        :param data: a buffer that begins with them; whoever calls hands on those behind the head, before any others.
        :param size: how many they are.
        :returns: how many bytes were taken: `HEADER`, or none.
        """
        if self._due or self._held or self._broken or size <= HEADER:
            return 0
        (head,) = HEAD.unpack_from(data)
        if not DATA | (size - HEADER) <= head <= _LONGEST:
            return 0
        self._due = head - DATA
        return HEADER

    def receive_data(self, data: bytes) -> list[Event]:
        """Return the events that these bytes complete, in order. Nothing follows a Malformed.

        :param data: any number of bytes, split anywhere.
        """
        if self._broken:
            return []
        if self._held or (len(data) < HEADER and not self._due):
            if not self._held:
                self._held = bytearray()
            self._held += data
            if len(self._held) < self._wanted:
                return []
            data = bytes(self._held)
            self._held = b""
        return self._read(data)

    def _read(self, data: bytes) -> list[Event]:
        """Read frames and keep what is left. The inner loop of a relay: no object for each DATA frame."""
        events: list[Event] = []
        parts: list[bytes | memoryview] = []
        at, end = 0, len(data)
        view = memoryview(data) if end > MAX_FRAME else data  # several frames: no copy but the one of joining
        self._wanted = HEADER
        while at < end:
            if self._due:
                part = view[at : at + self._due]
                parts.append(part)
                at += len(part)
                self._due -= len(part)
                continue
            if end - at < HEADER:
                break
            (head,) = HEAD.unpack_from(data, at)
            if DATA < head <= _LONGEST:
                at, self._due = at + HEADER, head - DATA
                continue
            stop = at + HEADER + (head & 0xFFFFFF)
            if stop > end or stop - at > MAX_FRAME:
                self._wanted = stop - at
                break
            if parts:
                _flush(parts, events)
            events.append(_decode(head >> 24, bytes(view[at + HEADER : stop])))
            at = stop
            if isinstance(events[-1], Malformed):
                self._broken = True
                return events
        if parts:
            _flush(parts, events)
        if self._wanted > MAX_FRAME:
            self._broken = True
            events.append(Malformed(f"frame of {self._wanted - HEADER} bytes, at most {MAX_PAYLOAD}"))
        else:
            self._held = bytearray(data[at:]) if at < end else b""
        return events


def _flush(parts: list[bytes | memoryview], events: list[Event]) -> None:
    """Turn the payloads of neighbouring DATA frames into one event."""
    events.append(Data(bytes(parts[0]) if len(parts) == 1 else b"".join(parts)))
    parts.clear()


def _decode(kind: int, payload: bytes) -> Event:
    if kind == FrameType.OPEN:
        return _decode_open(payload)
    if kind == FrameType.REFUSE and len(payload) <= MAX_REASON and _REASON.fullmatch(payload):
        return Refuse(payload.decode("ascii"))
    if not payload and kind in _EMPTY:
        return _EMPTY[kind]
    return Malformed(f"frame of type {kind} and {len(payload)} bytes")


def _decode_open(payload: bytes) -> Open | Malformed:
    message = OpenMessage()
    try:
        message.ParseFromString(payload)
    except DecodeError:
        return Malformed("OPEN that is no protobuf message")
    try:
        source = _source(message.source_ip, message.source_port)
    except ValueError:
        return Malformed("OPEN with a source that is no address")
    opened = Open(message.port, message.authority, source, message.source_known, message.protocol)
    problem = _problem(opened)
    return Malformed(problem) if problem else opened


def _source(packed: bytes, port: int) -> Address | None:
    """Return the address.

    :raises ValueError: these are not the bytes of an address, or it is no port.
    """
    if not packed:
        return None
    if port > 65535:
        raise ValueError(f"port {port}")
    return Address(_ip(packed), port)


@lru_cache(maxsize=4096)
def _ip(packed: bytes) -> IP:
    ip: IP = IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)
    return parse_ip(str(ip))


def is_authority(text: str) -> bool:
    """Return whether this may stand in OPEN as the authority."""
    return len(text) <= MAX_TEXT and _TEXT.fullmatch(text) is not None


def _open_payload(opened: Open) -> bytes:
    if problem := _problem(opened):
        raise ValueError(problem)
    message = OpenMessage(
        port=opened.port,
        authority=opened.authority,
        source_known=opened.source_known,
        protocol=opened.protocol,
    )
    if opened.source is not None:
        message.source_ip = opened.source.ip.packed
        message.source_port = opened.source.port
    return message.SerializeToString()


def _problem(opened: Open) -> str:
    if not 1 <= opened.port <= 65535:
        return f"OPEN with port {opened.port}"
    return _problem_of_texts(opened.authority, opened.source_known, opened.protocol)


@lru_cache(maxsize=256)
def _problem_of_texts(authority: str, source_known: str, protocol: str) -> str:
    for name, text, bound in (
        ("authority", authority, MAX_TEXT),
        ("source_known", source_known, MAX_WORD),
        ("protocol", protocol, MAX_WORD),
    ):
        if len(text) > bound or not _TEXT.fullmatch(text):
            return f"OPEN with a bad {name}"
    return ""


def _framed(kind: int, payload: bytes) -> bytes:
    return HEAD.pack(kind << 24 | len(payload)) + payload


def _printable(reason: str) -> bytes:
    """Return the reason as REFUSE carries it: what does not fit is cut or replaced, so that refusing never fails."""
    clean = "".join(letter if " " <= letter <= "~" else "?" for letter in reason[:MAX_REASON])
    return (clean or "refused").encode("ascii")
