r"""The PROXY protocol: a balancer says, before the client's bytes, who the client is. Versions 1 and 2.

::

    1   "PROXY " ("TCP4" | "TCP6") " " source " " destination " " port " " port CR LF     at most 107 bytes
        "PROXY UNKNOWN" anything CR LF
    2   offset 0    CR LF CR LF NUL CR LF "QUIT" LF       12 bytes
        offset 12   2, and the command: LOCAL or PROXY     1 byte
        offset 13   family and transport                   1 byte
        offset 14   N, big-endian                          2 bytes
        offset 16   two addresses, two ports, TLVs         N bytes

It goes from client to server, once, and has no answer. Bytes in, header out: docs/proxy-protocol.md, after
"The PROXY protocol" of HAProxy's authors. Of UDP and Unix sockets, as of LOCAL and UNKNOWN, nothing is told; a
checksum (TLV 0x03) is not verified.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from itertools import chain

from meshtx.wire.address import IP, Address
from meshtx.wire.header import HeaderParser
from meshtx.wire.malformed import Malformed

ALPN = 0x01
"""Type of the TLV with the client's application protocol."""
AUTHORITY = 0x02
"""Type of the TLV with the host that the client asked for, as in TLS's server_name."""
PEER_IDENTITY = 0xD0
"""Type of the TLV with the client's proven identity, a SPIFFE ID; outside of the specification, as Istio sends it."""

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
"""What version 2 begins with."""
V1_START = b"PROXY "
MAX_V1 = 107
"""Bytes of a header of version 1, its CR LF included."""
MAX_V2 = 2048
"""Bytes of a header of version 2 behind the first 16; the longest that is common, with all its TLVs, has some 300."""
MAX_TLVS = 64
"""TLVs of a header; the specification has 12 types. Hundreds of empty ones take a millisecond to read."""

_V2_START = 16
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21
_ADDRESSES = {0x00: 0, _TCP4: 12, 0x12: 12, _TCP6: 36, 0x22: 36, 0x31: 216, 0x32: 216}
"""Bytes of the addresses, by family and transport; a value that is not here is no header."""
_V1_LINE = re.compile(rb"TCP([46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})")
_UNKNOWN = re.compile(rb"UNKNOWN( .*)?", re.DOTALL)

TLV = tuple[int, bytes]
"""A type and a value."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """Whom a connection stands for.

    :param source: the client, ``None`` if the header tells none (LOCAL, UNKNOWN): the connection is the sender's own.
    :param destination: what the client connected to, ``None`` likewise.
    """

    source: Address | None
    destination: Address | None
    tlvs: tuple[TLV, ...] = ()


NOBODY = ProxyHeader(None, None)
"""What LOCAL and UNKNOWN say."""


def encode_v2(source: Address, destination: Address, tlvs: Iterable[TLV] = ()) -> bytes:
    """Return a header of version 2 for a TCP connection.

    An IPv4 address beside an IPv6 one is written as IPv4-mapped.

    :raises ValueError: it would be longer than we take.
    """
    if source.ip.version == destination.ip.version == 4:
        family, packed = _TCP4, [source.ip.packed, destination.ip.packed]
    else:
        family, packed = _TCP6, [_as_ipv6(source.ip), _as_ipv6(destination.ip)]
    extras = chain.from_iterable((struct.pack("!BH", kind, len(value)), value) for kind, value in tlvs)
    body = b"".join([*packed, struct.pack("!HH", source.port, destination.port), *extras])
    if len(body) > MAX_V2:
        raise ValueError(f"a PROXY header of {len(body)} bytes, at most {MAX_V2}")
    return SIGNATURE + struct.pack("!BBH", _PROXY, family, len(body)) + body


def _as_ipv6(ip: IP) -> bytes:
    return ip.packed.rjust(16, b"\0") if ip.version == 6 else b"\0" * 10 + b"\xff\xff" + ip.packed


class ProxyHeaderParser(HeaderParser[ProxyHeader]):
    """Reads one header of either version."""

    def _read(self) -> ProxyHeader | Malformed | None:
        if V1_START.startswith(self._held[: len(V1_START)]):
            return self._read_v1()
        if SIGNATURE.startswith(self._held[: len(SIGNATURE)]):
            return self._read_v2()
        return Malformed("no PROXY header")

    def _read_v1(self) -> ProxyHeader | Malformed | None:
        line = self._held.find(b"\r\n", 0, MAX_V1)
        if line < 0:
            return Malformed(f"PROXY line without an end in {MAX_V1} bytes") if len(self._held) >= MAX_V1 else None
        self._end = line + 2
        return _decode_v1(bytes(self._held[len(V1_START) : line]))

    def _read_v2(self) -> ProxyHeader | Malformed | None:
        if len(self._held) < _V2_START:
            return None
        command, family, size = struct.unpack_from("!BBH", self._held, len(SIGNATURE))
        if size > MAX_V2:
            return Malformed(f"PROXY header with {size} bytes behind its start, at most {MAX_V2}")
        if len(self._held) < _V2_START + size:
            return None
        self._end = _V2_START + size
        return _decode_v2(command, family, bytes(self._held[_V2_START : self._end]))


def _decode_v1(line: bytes) -> ProxyHeader | Malformed:
    if _UNKNOWN.fullmatch(line):
        return NOBODY
    match = _V1_LINE.fullmatch(line)
    if match is None:
        return Malformed("PROXY line of another form")
    version, source, destination, source_port, destination_port = (each.decode() for each in match.groups())
    of_family = IPv4Address if version == "4" else IPv6Address
    try:
        return ProxyHeader(
            Address.of(str(of_family(source)), int(source_port)),
            Address.of(str(of_family(destination)), int(destination_port)),
        )
    except ValueError:  # its text would have the peer's bytes
        return Malformed(f"PROXY line with an address or a port that is none of TCP{version}")


def _decode_v2(command: int, family: int, body: bytes) -> ProxyHeader | Malformed:
    if command == _LOCAL:
        return NOBODY
    if command != _PROXY:
        return Malformed(f"PROXY header with version and command {command:#04x}")
    size = _ADDRESSES.get(family)
    if size is None:
        return Malformed(f"PROXY header with family and transport {family:#04x}")
    if len(body) < size:
        return Malformed(f"PROXY header with addresses of {len(body)} bytes instead of {size}")
    if family not in {_TCP4, _TCP6}:
        return NOBODY
    tlvs = _decode_tlvs(body[size:])
    if isinstance(tlvs, Malformed):
        return tlvs
    return ProxyHeader(*_decode_addresses(body[:size]), tlvs)


def _decode_addresses(packed: bytes) -> tuple[Address, Address]:
    half = (len(packed) - 4) // 2
    of_family = IPv4Address if half == 4 else IPv6Address
    ports = struct.unpack_from("!HH", packed, 2 * half)
    source, destination = (
        Address.of(str(of_family(packed[at : at + half])), port) for at, port in zip((0, half), ports, strict=True)
    )
    return source, destination


def _decode_tlvs(data: bytes) -> tuple[TLV, ...] | Malformed:
    found: list[TLV] = []
    at = 0
    while at < len(data):
        start = at + 3
        at = start + int.from_bytes(data[at + 1 : start], "big")
        if start > len(data) or at > len(data):
            return Malformed("PROXY header with a TLV that is cut off")
        if len(found) == MAX_TLVS:
            return Malformed(f"PROXY header with more than {MAX_TLVS} TLVs")
        found.append((data[start - 3], data[start:at]))
    return tuple(found)
