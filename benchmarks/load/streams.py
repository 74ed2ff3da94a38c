"""Many bytes on a connection, with little work at its ends."""

from __future__ import annotations

import socket

CHUNK = bytes(1 << 20)
_ROOM = bytearray(1 << 20)


def pour(connection: socket.socket, size: int) -> None:
    """Send so many bytes."""
    view = memoryview(CHUNK)
    while size > 0:
        size -= connection.send(view[:size])


def drop(connection: socket.socket, size: int) -> None:
    """Read so many bytes; the kernel drops them (MSG_TRUNC, tcp(7)).

    :raises ConnectionError: it ended first.
    """
    while size > 0:
        got = connection.recv_into(_ROOM, min(size, len(_ROOM)), socket.MSG_TRUNC)
        if not got:
            raise ConnectionError(f"it ended {size} bytes early")
        size -= got
