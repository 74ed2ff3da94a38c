"""What really crossed the network: a raw capture, and the TCP streams in it.

Run as a program in the fabric's namespace it writes every frame that enters the bridge to a pcap file
(https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html) until it is told to stop. `streams` reads such
a file again and puts the bytes of each TCP connection in order; it trusts no proxy.
"""

from __future__ import annotations

import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from meshtx.wire.address import Address

_ETH_P_ALL = 3
_PACKET_OUTGOING = 4
_LINKTYPE_ETHERNET = 1
_SNAPLEN = 262144
_SO_RCVBUFFORCE = 33
_BUFFER = 64 << 20
_FILE_HEADER = struct.Struct("<IHHiIII")
_RECORD_HEADER = struct.Struct("<IIII")
_SYN, _ACK = 2, 16


@dataclass
class Stream:
    """One TCP connection, seen from outside. `client` sent the first SYN.

    :param sent: the client's bytes in order; what the capture has missed is left out. `received`: the server's.
    """

    client: Address
    server: Address
    sent: bytes = b""
    received: bytes = b""


@dataclass
class _Half:
    start: int | None = None
    segments: dict[int, bytes] = field(default_factory=dict)

    def add(self, seq: int, payload: bytes) -> None:
        if self.start is None or not payload:
            return
        at = (seq - self.start) & 0xFFFFFFFF
        if len(payload) > len(self.segments.get(at, b"")):
            self.segments[at] = payload

    def bytes(self) -> bytes:
        out, end = bytearray(), 0
        for at in sorted(self.segments):
            segment = self.segments[at]
            if at + len(segment) > end:
                out += segment[max(end - at, 0) :]
                end = at + len(segment)
        return bytes(out)


def record(output: Path) -> None:
    """Write every frame that comes in on any interface of this namespace, until SIGTERM.

    :raises OSError: this process may not capture.
    """
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    with suppress(PermissionError):  # root of a user namespace may not; the ordinary buffer does for a demo
        raw.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    stopping = False

    def stop(*_args: object) -> None:
        nonlocal stopping
        stopping = True
        raw.settimeout(0.2)  # what is in the buffer still counts

    signal.signal(signal.SIGTERM, stop)
    raw.settimeout(0.5)
    with output.open("wb", buffering=0) as out:
        out.write(_FILE_HEADER.pack(0xA1B2C3D4, 2, 4, 0, 0, _SNAPLEN, _LINKTYPE_ETHERNET))
        while True:
            try:
                frame, address = raw.recvfrom(_SNAPLEN)
            except TimeoutError:
                if stopping:
                    return
                continue
            if address[2] == _PACKET_OUTGOING:
                continue  # the same frame, leaving the bridge
            now = time.time()
            out.write(_RECORD_HEADER.pack(int(now), int(now % 1 * 1e6), len(frame), len(frame)) + frame)


def streams(capture: Path) -> list[Stream]:
    """Return every TCP connection whose beginning is in the capture, in order of appearance.

    :raises ValueError: the file is no capture of ours.
    """
    halves: dict[tuple[Address, Address], tuple[_Half, _Half]] = {}
    done: list[tuple[Address, Address, tuple[_Half, _Half]]] = []
    for frame in _frames(capture.read_bytes()):
        segment = _tcp(frame)
        if segment is None:
            continue
        source, destination, seq, flags, payload = segment
        if flags & _SYN and not flags & _ACK:
            known = halves.get((source, destination))
            if known is None or known[0].start != seq + 1:  # the ports may be used again
                halves[source, destination] = pair = (_Half(seq + 1), _Half())
                done.append((source, destination, pair))
        elif (source, destination) in halves:
            halves[source, destination][0].add(seq, payload)
        elif (destination, source) in halves:
            half = halves[destination, source][1]
            if flags & _SYN:
                half.start = seq + 1
            half.add(seq, payload)
    return [Stream(client, server, up.bytes(), down.bytes()) for client, server, (up, down) in done]


def _frames(data: bytes) -> Iterator[bytes]:
    if len(data) < _FILE_HEADER.size or data[:4] != b"\xd4\xc3\xb2\xa1":
        raise ValueError("no pcap file")
    at = _FILE_HEADER.size
    while at + _RECORD_HEADER.size <= len(data):
        size = _RECORD_HEADER.unpack_from(data, at)[2]
        at += _RECORD_HEADER.size
        yield data[at : at + size]
        at += size


def _tcp(frame: bytes) -> tuple[Address, Address, int, int, bytes] | None:
    """Return source, destination, sequence number, flags and payload of an Ethernet frame with TCP in it."""
    ether_type = frame[12:14]
    if ether_type == b"\x08\x00" and len(frame) >= 34 and frame[23] == socket.IPPROTO_TCP:
        start, end = 14 + (frame[14] & 15) * 4, 14 + int.from_bytes(frame[16:18], "big")
        source, destination = ip_address(frame[26:30]), ip_address(frame[30:34])
    elif ether_type == b"\x86\xdd" and len(frame) >= 54 and frame[20] == socket.IPPROTO_TCP:
        start, end = 54, 54 + int.from_bytes(frame[18:20], "big")
        source, destination = ip_address(frame[22:38]), ip_address(frame[38:54])
    else:
        return None
    if len(frame) < start + 20:
        return None
    sport, dport, seq = struct.unpack_from("!HHI", frame, start)
    payload = frame[start + (frame[start + 12] >> 4) * 4 : end]
    return Address(source, sport), Address(destination, dport), seq, frame[start + 13], payload


if __name__ == "__main__":
    record(Path(sys.argv[1]))
