"""Ethernet frames with TCP in them, and a capture file of them, as a raw socket would have seen them."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path

FIN, SYN, PUSH, ACK = 1, 2, 8, 16
_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)


def frame(
    source: tuple[str, int],
    destination: tuple[str, int],
    seq: int,
    payload: bytes = b"",
    *,
    flags: int = ACK,
    padding: int = 0,
    options: bytes = b"",
) -> bytes:
    """Return one; checksums are left out, nobody reads them.

    :param padding: bytes behind the packet, as a short frame has them.
    :param options: of the TCP header, a multiple of 4 bytes.
    """
    ours, theirs = ip_address(source[0]), ip_address(destination[0])
    offset = (5 + len(options) // 4) << 4
    tcp = struct.pack("!HHIIBBHHH", source[1], destination[1], seq & 0xFFFFFFFF, 0, offset, flags, 65535, 0, 0)
    segment = tcp + options + payload
    if ours.version == 4:
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0, 64, 6, 0) + ours.packed + theirs.packed
        kind = b"\x08\x00"
    else:
        ip = struct.pack("!IHBB", 6 << 28, len(segment), 6, 64) + ours.packed + theirs.packed
        kind = b"\x86\xdd"
    return bytes(12) + kind + ip + segment + bytes(padding)


def write(path: Path, frames: Iterable[bytes]) -> Path:
    """Write a capture file."""
    records = [struct.pack("<IIII", 0, 0, len(each), len(each)) + each for each in frames]
    path.write_bytes(_HEADER + b"".join(records))
    return path
