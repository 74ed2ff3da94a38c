"""A TLS client whose ClientHello is as long as it is to be, and is there before it is sent."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import ssl
from collections.abc import Callable, Sequence

from meshtx.wire.client_hello import RECORD_HEADER

WORD = b"are you there?"
_MOST_OF_NAME = 256
"""Bytes of a protocol's name, with its length."""


class Client:
    """One TLS connection over a socket."""

    def __init__(self, context: ssl.SSLContext, name: str) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=name)
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
        self.hello = self._out.read()

    async def goes_on(self, sock: socket.socket, data: bytes) -> bool:
        """Go on to the end, and return whether the application echoed a word.

        :param data: what the server said to the hello.
        """
        self._in.write(data)
        await self._until(sock, self._tls.do_handshake)
        self._tls.write(WORD)
        await asyncio.get_running_loop().sock_sendall(sock, self._out.read())
        return await self._until(sock, lambda: self._tls.read(1 << 14)) == WORD

    async def _until(self, sock: socket.socket, step: Callable[[], object]) -> object:
        loop = asyncio.get_running_loop()
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                await loop.sock_sendall(sock, self._out.read())
                data = await loop.sock_recv(sock, 1 << 14)
                if not data:
                    raise ConnectionError("the server left") from None
                self._in.write(data)
            else:
                await loop.sock_sendall(sock, self._out.read())
                return done


def context(anchors: str | None = None, own: Sequence[str] = ()) -> ssl.SSLContext:
    """Return how a client asks.

    :param anchors: the file by which it judges servers; none: it takes all.
    :param own: the files of its certificate and key.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if anchors is None:
        made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    else:
        made.load_verify_locations(anchors)
    if own:
        made.load_cert_chain(*own)
    return made


def terse(made: ssl.SSLContext) -> ssl.SSLContext:
    """Have it offer as little as there can be in a hello: one version, one cipher suite, one group, no tickets."""
    made.maximum_version = ssl.TLSVersion.TLSv1_2
    made.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    made.set_ecdh_curve("prime256v1")
    made.options |= ssl.OP_NO_TICKET
    return made


def sized(made: ssl.SSLContext, name: str, size: int) -> Client:
    """Return a client whose hello, in one record, has exactly this size; protocols that nobody knows fill it.

    :param size: bytes; at least 8 more than without them, and none of those that OpenSSL pads (256 to 511).
    """
    made.set_alpn_protocols(["x" * (_MOST_OF_NAME - 1)] * 2)
    room = size - _size(Client(made, name)) + 2 * _MOST_OF_NAME
    each, more = divmod(room, count := math.ceil(room / _MOST_OF_NAME))
    made.set_alpn_protocols(["x" * (each - 1 + (number < more)) for number in range(count)])
    return _of_size(Client(made, name), size)


def short(size: int) -> Client:
    """Return a client whose hello is terse, and of exactly this size; the name that it asks for fills it.

    :param size: bytes, about 150.
    """
    made, rest = terse(context()), ".example"
    room = size - _size(Client(made, "x" + rest)) + 1
    return _of_size(Client(made, "x" * room + rest), size)


def _of_size(client: Client, size: int) -> Client:
    if (got := _size(client)) != size:
        raise ValueError(f"a hello of {got} bytes, not {size}")
    return client


def _size(client: Client) -> int:
    return RECORD_HEADER + len(message(client.hello))


def message(hello: bytes) -> bytes:
    """Return the handshake message that records hold."""
    parts = []
    while hello:
        end = RECORD_HEADER + int.from_bytes(hello[3:5], "big")
        parts.append(hello[RECORD_HEADER:end])
        hello = hello[end:]
    return b"".join(parts)


def in_records(hello: bytes, size: int) -> bytes:
    """Return a hello in records of at most this many bytes each: no server minds."""
    whole = message(hello)
    parts = [whole[at : at + size] for at in range(0, len(whole), size)]
    return b"".join(hello[:3] + len(part).to_bytes(2, "big") + part for part in parts)
