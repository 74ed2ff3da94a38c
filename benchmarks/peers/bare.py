"""A floor: what any pair in Python takes that does nothing a mesh is for. No TLS, policy, metrics or back-pressure.

    python -m benchmarks.peers.bare outbound|inbound LISTEN_HOST PORT DIAL_HOST PORT

Connections follow one another on plain ones that the outbound half dials and keeps (legs), in frames like those of
`meshtx.wire.leg_frames`: a type and a length in 4 bytes, then the payload. OPEN has a connection's first bytes, and the
inbound half dials for it; once FIN has gone both ways it is over. A reset is carried as a FIN. Who sends waits until
all is sent, and everybody with it: a client that does not read holds up the others.
"""

from __future__ import annotations

import select
import socket
import struct
import sys
from contextlib import suppress

HEAD = struct.Struct(">I")
LENGTH = 0xFFFFFF
OPEN, ACCEPT, DATA, FIN = (kind << 24 for kind in (1, 2, 4, 5))

BUFFER = bytearray(HEAD.size + 2**18 + HEAD.size)
VIEW = memoryview(BUFFER)
BODY = VIEW[HEAD.size : -HEAD.size]
"""Where all is received. In front of it is room for a head that is sent, behind it for what a head that came lacks."""


def send(to: socket.socket, data: memoryview) -> None:
    """Send all of it; if nobody takes it any more, it will soon be lost."""
    try:
        to.sendall(data)
    except ConnectionError:
        return


class Half:
    """One of the two: what it listens to, and all that it watches."""

    def __init__(self, kind: type[App | Leg], listen: tuple[str, int], to: tuple[str, int]) -> None:
        self.kind, self.to = kind, to
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
            end = self.kind(self, self.listener.accept()[0]) if number == self.number else self.ends.get(number)
            if not end:  # closed just before
                continue
            try:
                size = end.socket.recv_into(BODY, 0, socket.MSG_DONTWAIT)
                end.take(size) if size else end.lost()
            except BlockingIOError:  # just accepted, or the event was of another one with this number
                continue
            except ConnectionError:
                end.lost()

    def watch(self, connection: socket.socket, end: App | Leg) -> None:
        """Have its bytes taken by an end."""
        self.ends[connection.fileno()] = end
        self.poll.register(connection, select.EPOLLIN)

    def close(self, connection: socket.socket) -> None:
        """Close it; epoll(7) forgets it by itself."""
        del self.ends[connection.fileno()]
        connection.close()

    def dial(self) -> socket.socket:
        """Return a new connection to where this half leads; raise ConnectionError if nobody is there."""
        connection = socket.socket()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.connect(self.to)
        return connection


class App:
    """An application's connection: a client's at the outbound half, the server's at the inbound half."""

    def __init__(self, half: Half, connection: socket.socket, leg: Leg | None = None) -> None:
        self.half, self.socket, self.leg = half, connection, leg
        half.watch(connection, self)

    def take(self, size: int) -> None:
        """Send on what has come, a client's first bytes on an idle leg or a new one."""
        kind = DATA
        if not self.leg:
            self.leg, kind = self.half.idle.pop() if self.half.idle else Leg(self.half, self.half.dial()), OPEN
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

    def __init__(self, half: Half, connection: socket.socket) -> None:
        self.half, self.socket = half, connection
        self.app: App | None = None
        self.over = 0  # directions of what it carries that have ended
        self.rest = 0  # bytes of a payload that are still to come
        half.watch(connection, self)

    def send(self, kind: int, size: int = 0) -> None:
        """Send a frame with so many of the bytes just received."""
        HEAD.pack_into(BUFFER, 0, kind | size)
        send(self.socket, VIEW[: HEAD.size + size])

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
        """Take frames, and parts of them."""
        at, end = HEAD.size, HEAD.size + size
        while at < end:
            if self.rest and self.app:
                stop = min(at + self.rest, end)
                send(self.app.socket, VIEW[at:stop])
                self.rest -= stop - at
                at = stop
                continue
            if (lacks := at + HEAD.size - end) > 0:  # it is on its way: heads are sent together with what follows
                end += self.socket.recv_into(VIEW[end:], lacks, socket.MSG_WAITALL)
            (head,) = HEAD.unpack_from(BUFFER, at)
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


def main(role: str, host: str, port: str, to_host: str, to_port: str) -> None:
    """Run one half for ever."""
    half = Half({"outbound": App, "inbound": Leg}[role], (host, int(port)), (to_host, int(to_port)))
    while True:
        half.turn()


if __name__ == "__main__":
    main(*sys.argv[1:])
