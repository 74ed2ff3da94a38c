"""A floor: what any pair in Python takes that only encrypts and carries. No policy, metrics, or back-pressure.

    python -m benchmarks.peers.bare outbound|inbound LISTEN_HOST PORT DIAL_HOST PORT CA CHAIN KEY PEER

Connections follow one another on those that the outbound half dials and keeps (legs), in frames like those of
`meshtx.wire.leg_frames`: a type and a length in 4 bytes, then the payload. OPEN has a connection's first bytes, and the
inbound half dials for it; once FIN has gone both ways it is over. A reset is carried as a FIN. Legs are mutual TLS, by
OpenSSL on the socket. Who sends waits until all is sent, who dials until it is there, and everybody with it: a client
that does not read holds up the others.
"""

from __future__ import annotations

import select
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path

from OpenSSL import SSL

from meshtx.net import openssl
from meshtx.net.contexts import Contexts, on_socket
from meshtx.net.records import RECORD
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.credentials import Credentials
from meshtx.pki.name import Name

HEAD = struct.Struct(">I")
LENGTH = 0xFFFFFF
OPEN, ACCEPT, DATA, FIN = (kind << 24 for kind in (1, 2, 4, 5))

SIZE = 2**18
"""Bytes received at once."""


class Sealed:
    """A connection between the halves, inside TLS: what is needed of a socket.

    :param tls: one of `Contexts` on which nothing has happened.
    :raises ConnectionError: it comes to no agreement with the other end.
    """

    def __init__(self, connection: socket.socket, tls: SSL.Connection) -> None:
        self.tls = on_socket(tls, connection)
        try:
            self.tls.do_handshake()
        except SSL.Error as error:
            raise ConnectionError(f"no handshake: {error}") from error
        connection.setblocking(False)
        self.fileno, self.close = connection.fileno, connection.close
        self._ssl = openssl.handles(self.tls).ssl

    def recv_into(self, to: memoryview, _size: int, _flags: int) -> int:
        """Receive a record, and more as long as they are whole ones."""
        got: int = openssl.ssl_read(self._ssl, openssl.pointer(to), RECORD)
        if got <= 0 and openssl.ssl_get_error(self._ssl, got) == openssl.WANT_READ:
            raise BlockingIOError
        size = max(got, 0)
        while got == RECORD and size < SIZE:
            got = openssl.ssl_read(self._ssl, openssl.pointer(to[size:]), RECORD)
            size += max(got, 0)
        return size

    def sendall(self, data: memoryview) -> None:
        """Send all, in records."""
        while data:
            sent: int = openssl.ssl_write(self._ssl, openssl.pointer(data), len(data))
            if sent > 0:
                data = data[sent:]
            elif openssl.ssl_get_error(self._ssl, sent) == openssl.WANT_WRITE:
                select.select([], [self], [])
            else:
                raise ConnectionError


def send(to: socket.socket | Sealed, data: memoryview) -> None:
    """Send all of it; if nobody takes it any more, it will soon be lost."""
    try:
        to.sendall(data)
    except ConnectionError:
        return


class Half:
    """One of the two: what it listens to, and all that it watches.

    :param peer: the other half's name, for the one that dials legs.
    """

    def __init__(
        self, kind: type[App | Leg], listen: tuple[str, int], to: tuple[str, int], contexts: Contexts, peer: Name
    ) -> None:
        self.kind, self.to, self.contexts, self.peer = kind, to, contexts, peer
        self.buffer = memoryview(bytearray(HEAD.size + SIZE))
        self.body = self.buffer[HEAD.size :]  # where all is received, behind room for a head that is sent
        self.idle: set[Leg] = set()
        self.ends: dict[int, App | Leg] = {}
        self.poll = select.epoll()
        self.listener = socket.create_server(listen, backlog=4096)
        self.listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what it accepts has it too
        self.number = self.listener.fileno()
        self.poll.register(self.number, select.EPOLLIN)

    def turn(self) -> None:
        """Wait until something has come, and have it taken."""
        for number, _ in self.poll.poll():
            end = self.accept() if number == self.number else self.ends.get(number)
            if not end:  # closed just before
                continue
            try:
                size = end.socket.recv_into(self.body, 0, socket.MSG_DONTWAIT)
                end.take(size) if size else end.lost()
            except BlockingIOError:  # just accepted, or the event was of another one with this number
                continue
            except ConnectionError:
                end.lost()

    def accept(self) -> App | Leg | None:
        """Take the next connection; nothing if it is no leg and was to be one."""
        connection, _ = self.listener.accept()
        if self.kind is App:
            return App(self, connection)
        try:
            return Leg(self, Sealed(connection, self.contexts.server()))
        except ConnectionError:
            connection.close()
            return None

    def watch(self, connection: socket.socket | Sealed, end: App | Leg) -> None:
        """Have its bytes taken by an end."""
        self.ends[connection.fileno()] = end
        self.poll.register(connection, select.EPOLLIN)

    def close(self, connection: socket.socket | Sealed) -> None:
        """Close it; epoll(7) forgets it by itself."""
        del self.ends[connection.fileno()]
        connection.close()

    def dial(self) -> socket.socket:
        """Return a new connection to where this half leads; raise ConnectionError if nobody is there."""
        connection = socket.socket()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.connect(self.to)
        return connection

    def leg(self) -> Leg:
        """Return one that carries nothing yet."""
        return self.idle.pop() if self.idle else Leg(self, Sealed(self.dial(), self.contexts.client(self.peer)))


class App:
    """An application's connection: a client's at the outbound half, the server's at the inbound half."""

    def __init__(self, half: Half, connection: socket.socket, leg: Leg | None = None) -> None:
        self.half, self.socket, self.leg = half, connection, leg
        half.watch(connection, self)

    def take(self, size: int) -> None:
        """Send on what has come, a client's first bytes on an idle leg or a new one."""
        kind = DATA
        if not self.leg:
            self.leg, kind = self.half.leg(), OPEN
            self.leg.app = self
        self.leg.send(kind, size)

    def lost(self) -> None:
        """Send on that no more will come; a client that no leg carries just goes."""
        if not self.leg:
            self.half.close(self.socket)
            return
        self.leg.send(FIN)
        if not self.leg.ended():
            self.half.poll.unregister(self.socket)


class Leg:
    """An end of a connection between the halves, which carries one application's at a time."""

    def __init__(self, half: Half, connection: Sealed) -> None:
        self.half, self.socket = half, connection
        self.app: App | None = None
        self.over = 0  # directions of what it carries that have ended
        self.rest = 0  # bytes of a payload that are still to come
        half.watch(connection, self)

    def send(self, kind: int, size: int = 0) -> None:
        """Send a frame with so many of the bytes just received."""
        buffer = self.half.buffer
        HEAD.pack_into(buffer, 0, kind | size)
        send(self.socket, buffer[: HEAD.size + size])

    def ended(self) -> bool:
        """Tell whether, with one more direction ended, both have; it carries nothing from then on."""
        self.over += 1
        if self.over < 2 or not self.app:
            return False
        self.half.close(self.app.socket)
        self.app, self.over = None, 0
        self.half.idle.add(self)
        return True

    def take(self, size: int) -> None:
        """Take frames, and parts of them; a head begins a record, so it comes whole."""
        buffer, at, end = self.half.buffer, HEAD.size, HEAD.size + size
        while at < end:
            if self.rest and self.app:
                stop = min(at + self.rest, end)
                send(self.app.socket, buffer[at:stop])
                self.rest -= stop - at
                at = stop
                continue
            (head,) = HEAD.unpack_from(buffer, at)
            at += HEAD.size
            self.rest = head & LENGTH
            self._begin(head & ~LENGTH)

    def _begin(self, kind: int) -> None:
        if kind == OPEN:
            self.half.idle.discard(self)
            self.app = App(self.half, self.half.dial(), self)
            self.send(ACCEPT)
        elif kind == FIN and self.app and not self.ended():
            with suppress(OSError):  # it is gone
                self.app.socket.shutdown(socket.SHUT_WR)

    def lost(self) -> None:
        """End, with what it carries."""
        self.half.idle.discard(self)
        self.half.close(self.socket)
        if self.app:
            self.half.close(self.app.socket)


def main(role: str, host: str, port: str, to_host: str, to_port: str, *proof: str) -> None:
    """Run one half for ever."""
    ca, chain, key = (Path(path).read_bytes() for path in proof[:3])
    contexts = Contexts(Credentials.from_pem(chain, key), TrustBundle.from_pem(ca))
    kind = {"outbound": App, "inbound": Leg}[role]
    half = Half(kind, (host, int(port)), (to_host, int(to_port)), contexts, Name.parse(proof[3]))
    while True:
        half.turn()


if __name__ == "__main__":
    main(*sys.argv[1:])
