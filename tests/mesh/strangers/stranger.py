"""Who sends: one process, one port of a program, no certificate unless a kind says so."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 60.0
"""Seconds in which a program must have dealt with what was sent."""
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Stranger:
    """A client of one port.

    :param folder: has ``ca.crt``, and a peer's certificate: ``peer.crt``, ``peer.key``.
    :param server_name: the name that the program proves, for TLS.
    :param scale: what share of the whole is sent.
    """

    address: tuple[str, int]
    folder: Path
    server_name: str
    scale: float = 1.0

    def connect(self) -> socket.socket:
        """Return a new connection.

        :raises OSError: it was not accepted.
        """
        connection = socket.create_connection(self.address, PATIENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def say(self, data: bytes) -> None:
        """Send bytes on one connection, end it, and read until the program has ended it too."""
        with self.connect() as connection:
            reader = threading.Thread(target=drain, args=(connection,))
            reader.start()
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it was reset, which is an answer
            reader.join(PATIENCE)

    def tls(self, connection: socket.socket, *protocols: str, peer: bool = False) -> ssl.SSLSocket:
        """Shake hands on a connection, without a certificate, or as a peer of the mesh.

        :raises OSError: the program refused. In TLS 1.3 it may do so only behind this.
        """
        context = ssl.create_default_context(cafile=self.folder / "ca.crt")
        if peer:
            context.load_cert_chain(self.folder / "peer.crt", self.folder / "peer.key")
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context.wrap_socket(connection, server_hostname=self.server_name)

    def times(self, number: int) -> range:
        """Count to the share of a number that is asked for."""
        return range(max(1, int(number * self.scale)))


def drain(connection: socket.socket) -> str:
    """Read until the other side ends the connection; return how: ``end``, ``reset`` or ``open``."""
    try:
        while connection.recv(1 << 16):
            pass
    except TimeoutError:
        return "open"
    except OSError:
        return "reset"
    return "end"


def reset(connection: socket.socket) -> None:
    """Close it by a reset, which leaves no state behind."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    connection.close()
