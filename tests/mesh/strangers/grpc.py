"""Hostile input to a gRPC server, over TLS: the HTTP/2 of `http`, and what needs a call."""

from __future__ import annotations

import select
import socket
import ssl
from contextlib import suppress

from tests.mesh.strangers.frames import (
    CANCEL,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    OPENING,
    RST_STREAM,
    SETTINGS,
    frame,
)
from tests.mesh.strangers.http import MEGABYTE, STREAMS, Make, again, streams
from tests.mesh.strangers.stranger import PATIENCE, Stranger

HEALTH = b"/grpc.health.v1.Health/Check"
"""A method of most servers; the others refuse it."""
_KEPT = 2**16
_POST = b"\x83\x86\x41\x01a" + b"\x0f\x10\x10application/grpc" + b"\x04" + bytes([len(HEALTH)]) + HEALTH
"""The header block of a call, nothing of which goes into HPACK's table but the authority."""


def call(stream: int = 1, more: bytes = b"", flags: int = END_HEADERS) -> bytes:
    """Return the head of a call.

    :param more: what its block has behind the fields of gRPC.
    """
    return frame(HEADERS, flags, stream, _POST + more)


def _unknown_settings(first: int) -> bytes:
    return b"".join(code.to_bytes(2, "big") + bytes(4) for code in range(first, first + 60))


_RESET = OPENING + call() + frame(RST_STREAM, 0, 1, CANCEL)

CALLS: dict[str, Make] = {
    "calls": streams(lambda stream: call(stream) + frame(DATA, END_STREAM, stream, bytes(5))),
    "calls, reset": streams(lambda stream: call(stream) + frame(RST_STREAM, 0, stream, CANCEL)),
    "calls of many fields": streams(lambda stream: call(stream, b"\0\1a\0" * 400, END_HEADERS | END_STREAM)),
    "calls of indexed fields": streams(lambda stream: call(stream, b"\x90" * 200, END_HEADERS | END_STREAM)),
    "size updates before a call": streams(lambda stream: frame(HEADERS, END_HEADERS, stream, b"\x20" * 16_000 + _POST)),
    "CONTINUATION of calls": streams(
        lambda stream: (
            call(stream, flags=0) + frame(CONTINUATION, 0, stream) * 50 + frame(CONTINUATION, END_HEADERS, stream)
        )
    ),
    "SETTINGS of no meaning": again(frame(SETTINGS, payload=_unknown_settings(100)), OPENING, 11 * MEGABYTE),
    "DATA of one byte, in a call": again(frame(DATA, 0, 1, b"a"), OPENING + call()),
    "DATA of a reset call": again(frame(DATA, 0, 1, b"a"), _RESET),
    "DATA of a reset call, long": again(frame(DATA, 0, 1, bytes(16_000)), _RESET),
}

STREAMS_OF_GRPC = {name: make for name, make in STREAMS.items() if make(0.0).startswith(OPENING)} | CALLS


def exchange(stranger: Stranger, data: bytes, *, ends: bool = True) -> bytes:
    """Send bytes over TLS, as a peer of the mesh, and read until the program ends the connection.

    :param ends: whether TCP's end follows the bytes, which cuts off what the program is about to say.
    :return: what it said at first.
    """
    said = b""
    with suppress(OSError), stranger.connect() as connection, stranger.tls(connection, "h2", peer=True) as tls:
        tls.setblocking(False)
        left = memoryview(data)
        while any(select.select([tls], [tls] if left else [], [], PATIENCE)):
            with suppress(ssl.SSLWantReadError):
                while received := tls.recv(1 << 16):
                    said = (said + received)[:_KEPT]
                break
            if left:
                with suppress(ssl.SSLWantWriteError):
                    left = left[tls.send(left[: 1 << 16]) :]
                    if ends and not left:
                        socket.socket.shutdown(tls, socket.SHUT_WR)
    return said


def tiny_records(stranger: Stranger) -> None:
    """Send 100 KB of frames in TLS records of one byte."""
    with suppress(OSError), stranger.connect() as connection, stranger.tls(connection, "h2", peer=True) as tls:
        data = OPENING + call() + frame(DATA, 0, 1, bytes(16_000)) * 6
        for place in stranger.times(len(data)):
            tls.send(data[place : place + 1])
        socket.socket.shutdown(tls, socket.SHUT_WR)
        while tls.recv(1 << 16):
            pass


def floods_at_once(stranger: Stranger) -> None:
    """Send header blocks of many fields on 50 connections at once, 16 KB each."""
    held = []
    data = streams(lambda stream: call(stream, b"\0\1a\0" * 400, END_HEADERS | END_STREAM))(1 / 64)
    for _ in stranger.times(50):
        with suppress(OSError):
            held.append(stranger.tls(stranger.connect(), "h2", peer=True))
    for tls in held:
        with suppress(OSError):
            tls.sendall(data)
    for tls in held:
        tls.close()
