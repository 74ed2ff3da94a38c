"""Records what real programs say to each other: a relay over loopback that keeps a copy."""

from __future__ import annotations

import select
import socket
import threading

from tests.wire.exchanges import Said


class Recorder:
    """Relays one connection to a port of this machine and records it, in order.

    :ivar port: where to connect.
    :ivar said: the conversation; whole once `wait` has returned.
    """

    def __init__(self, port: int) -> None:
        self.said: list[Said] = []
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def wait(self) -> list[Said]:
        """Wait for the end of the connection, and return what was said."""
        self._thread.join(20)
        assert not self._thread.is_alive(), "the connection has not ended"
        return self.said

    def _run(self) -> None:
        client, _ = self._listener.accept()
        with self._listener, client, socket.create_connection(("127.0.0.1", self._server)) as server:
            other = {client: ("C", server), server: ("S", client)}
            while other:
                for source in select.select(list(other), [], [])[0]:
                    side, sink = other[source]
                    data = source.recv(65536)
                    if not data:
                        del other[source]
                        sink.shutdown(socket.SHUT_WR)
                        continue
                    self.said.append((side, data))
                    sink.sendall(data)
