"""A fast server for tales: HTTP/1.1 and, for who begins with its preface, HTTP/2 in clear.

    python -m tests.mesh.web_server ADDRESS PORT

It answers every request with its body, or with ``hello`` where it has none, and an ``x-served`` header; once it
listens it writes ``serving``.
"""

from __future__ import annotations

import asyncio
import sys

import h2.config
import h2.connection
import h2.events

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Server(asyncio.Protocol):
    """One connection."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self._held = b""
        self._h2: h2.connection.H2Connection | None = None
        self._bodies: dict[int, bytes] = {}

    def data_received(self, data: bytes) -> None:
        if self._h2 is not None:
            self._second(data)
            return
        self._held += data
        if self._held[: len(PREFACE)] == PREFACE[: len(self._held)]:
            if len(self._held) >= len(PREFACE):
                self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
                self._h2.initiate_connection()
                self._second(self._held)
            return
        while self._first():
            pass

    def _first(self) -> bool:
        """Answer one request of HTTP/1.1, if it is whole."""
        head, end, rest = self._held.partition(b"\r\n\r\n")
        if not end:
            return False
        size = 0
        for line in head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.lower() == b"content-length":
                size = int(value)
        if len(rest) < size:
            return False
        body, self._held = rest[:size] or b"hello", rest[size:]
        self.transport.write(b"HTTP/1.1 200 OK\r\nx-served: yes\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        return bool(self._held)

    def _second(self, data: bytes) -> None:
        assert self._h2 is not None
        for event in self._h2.receive_data(data):
            match event:
                case h2.events.DataReceived():
                    self._bodies[event.stream_id] = self._bodies.get(event.stream_id, b"") + event.data
                    self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                case h2.events.StreamEnded():
                    body = self._bodies.pop(event.stream_id, b"hello")
                    headers = [(":status", "200"), ("x-served", "yes"), ("content-length", str(len(body)))]
                    self._h2.send_headers(event.stream_id, headers)
                    self._h2.send_data(event.stream_id, body, end_stream=True)
        self.transport.write(self._h2.data_to_send())


async def main(address: str, port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Server, address, port)
    print("serving", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
