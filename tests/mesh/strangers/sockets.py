"""The kinds that are more than a stream of bytes: many connections, TLS, what is cut or slow."""

from __future__ import annotations

import ctypes
import ctypes.util
import socket
import ssl
import struct
from collections.abc import Iterable
from contextlib import suppress

from tests.mesh.strangers.stranger import PATIENCE, Stranger, drain, reset

PROXY_2 = b"\r\n\r\n\0\r\nQUIT\n"


def hold(stranger: Stranger, first: Iterable[bytes]) -> None:
    """Open a connection for each of these, all at once, and then end them all."""
    held = []
    for data in first:
        connection = stranger.connect()
        held.append(connection)
        with suppress(OSError):  # refused, as it may be
            connection.sendall(data)
    for number, connection in enumerate(held):
        if number % 2:
            connection.close()
        else:
            reset(connection)


def half_proxy_headers(stranger: Stranger) -> None:
    """Hold 1000 connections on half of a header."""
    halves = (b"PROXY TCP4 127.0.0.1 ", PROXY_2 + b"\x21\x11\0\x0c\x7f\0", b"P", PROXY_2[:3])
    hold(stranger, (halves[number % len(halves)] for number in stranger.times(1000)))


def long_proxy_headers(stranger: Stranger) -> None:
    """Hold 300 connections on a header with as much in it as may be, or with more TLVs, or on a longer one."""
    room = 2048 - 12  # behind the addresses
    most, many = (_proxy_header(tlv * (room // len(tlv))) for tlv in (b"\xee\0\x1c" + bytes(28), b"\xee\0\0"))
    longer = PROXY_2 + b"\x21\x11\xff\xff" + bytes(65_535)
    headers = [*(most, many) * 4, longer]
    hold(stranger, (headers[number % len(headers)] for number in stranger.times(300)))


def _proxy_header(tlvs: bytes) -> bytes:
    addresses = bytes(12)
    return PROXY_2 + b"\x21\x11" + struct.pack("!H", len(addresses + tlvs)) + addresses + tlvs


def client_hello(server_name: str) -> bytes:
    """Return a whole ClientHello to a name."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=server_name)
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def half_hellos(stranger: Stranger) -> None:
    """Hold 1000 connections on half of a ClientHello."""
    half = client_hello(stranger.server_name)[:250]
    hold(stranger, (half for _ in stranger.times(1000)))


def bytewise_hellos(stranger: Stranger) -> None:
    """Send the ClientHellos of 20 connections, to another name, byte by byte and in turn."""
    hello = client_hello("nobody.example")
    held = [stranger.connect() for _ in stranger.times(20)]
    for place in range(len(hello)):
        for connection in held:
            with suppress(OSError):  # as above
                connection.send(hello[place : place + 1])
    for connection in held:
        reset(connection)


def handshakes(stranger: Stranger) -> None:
    """Shake hands 200 times, one after another, without a certificate."""
    for number in stranger.times(200):
        with stranger.connect() as connection:
            try:
                with stranger.tls(connection, *(("h2",) if number % 2 else ())) as tls:
                    tls.sendall(b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n")
                    tls.recv(1)
            except OSError:
                pass  # refused, as it should be where a certificate is asked for


def short_connections(stranger: Stranger) -> None:
    """Connect 10,000 times and say nothing, or a word; leave by a reset, or in order."""
    for number in stranger.times(10_000):
        try:
            connection = stranger.connect()
            if number % 3:
                connection.send(b"\x16" if number % 3 == 1 else b"a")
        except OSError:
            continue
        if number % 2:
            reset(connection)
        else:
            connection.close()


def key_updates(stranger: Stranger) -> None:
    """Ask 50,000 times for another key, as a peer of the mesh (RFC 8446, section 4.6.3): needs OpenSSL itself."""
    library = ctypes.CDLL(ctypes.util.find_library("ssl"))
    for name in ("TLS_client_method", "SSL_CTX_new", "SSL_new"):
        getattr(library, name).restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.SSL_CTX_new(ctypes.c_void_p(library.TLS_client_method())))
    chain, key = (str(stranger.folder / f"peer.{kind}").encode() for kind in ("crt", "key"))
    assert library.SSL_CTX_use_certificate_chain_file(context, chain) == 1, f"{chain!r} is no certificate"
    assert library.SSL_CTX_use_PrivateKey_file(context, key, 1) == 1, f"{key!r} is no key"
    tls = ctypes.c_void_p(library.SSL_new(context))
    with stranger.connect() as connection:
        connection.settimeout(None)  # OpenSSL reads and writes it
        for side in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            connection.setsockopt(socket.SOL_SOCKET, side, struct.pack("ll", int(PATIENCE), 0))
        library.SSL_set_fd(tls, connection.fileno())
        name = stranger.server_name.encode()
        library.SSL_ctrl(tls, 55, ctypes.c_long(0), name)  # SSL_set_tlsext_host_name
        protocols = b"\x08meshtx/1\x02h2"
        library.SSL_set_alpn_protos(tls, protocols, len(protocols))
        assert library.SSL_connect(tls) == 1, f"{stranger.server_name} shook no hands"
        for _ in stranger.times(50_000):
            library.SSL_key_update(tls, 0)
            if library.SSL_do_handshake(tls) != 1:
                break
        connection.settimeout(PATIENCE)
        try:
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            return
        drain(connection)
