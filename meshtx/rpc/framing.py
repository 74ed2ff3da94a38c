"""How gRPC lays messages on a stream: 1 byte flag, 4 bytes length (big-endian), the message.

https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md. No compression: a message whose flag
says that it is compressed is refused, as the specification asks of a peer that lacks the algorithm.
Bytes in, events out. A length past the bound is known before anything of the message is held.
"""

from __future__ import annotations

from dataclasses import dataclass

from meshtx.rpc.status import RpcError, Status

HEADER = 5
"""Bytes before the message."""

MAX_MESSAGE = 4 * 2**20
"""Bytes; gRPC's own default."""


def encode_message(message: bytes) -> bytes:
    """Return one uncompressed message as it goes on a stream."""
    return b"\0" + len(message).to_bytes(4, "big") + message


@dataclass(frozen=True, slots=True)
class Broken:
    """The peer broke the format or a bound; nothing comes after it."""

    error: RpcError


class MessageParser:
    """Reads one direction of one stream; holds at most one unfinished message.

    :param limit: bytes that a message may have.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = bytearray()
        self._broken = False

    @property
    def unfinished(self) -> bool:
        """Whether the stream would end in the middle of a message here."""
        return bool(self._held)

    def receive_data(self, data: bytes) -> list[bytes | Broken]:
        """Return the messages that these bytes complete, in order, or `Broken`."""
        if not self._broken:
            self._held += data
        return list(iter(self._next, None))

    def _next(self) -> bytes | Broken | None:
        if len(self._held) < HEADER or self._broken:
            return None
        flag, size = self._held[0], int.from_bytes(self._held[1:HEADER], "big")
        if flag:
            return self._break(Status.UNIMPLEMENTED if flag == 1 else Status.INTERNAL, f"message with flag {flag}")
        if size > self._limit:
            return self._break(Status.RESOURCE_EXHAUSTED, f"message of {size} bytes, at most {self._limit}")
        if len(self._held) < HEADER + size:
            return None
        message = bytes(self._held[HEADER : HEADER + size])
        del self._held[: HEADER + size]
        return message

    def _break(self, status: Status, message: str) -> Broken:
        self._broken = True
        self._held.clear()
        return Broken(RpcError(status, message))
