"""An HTTP/2 peer made of h2 alone, joined to a protocol of ours by memory: no sockets, a clock that stands still."""

from __future__ import annotations

from typing import Any, TypeVar

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import Event
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from meshtx.rpc.framing import encode_message
from meshtx.rpc.http2 import Http2Protocol
from meshtx.rpc.server import RpcServer

E = TypeVar("E", bound=Event)


class MemoryTransport:
    """What our protocols use of a transport. `full` pauses the producer as a socket that takes no more does."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.producer: Any = None
        self.disconnecting = False
        self.aborted = False
        self.reading = True

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True

    def write(self, data: bytes) -> None:
        self.written += data

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def loseConnection(self) -> None:
        assert self.producer is None, "a transport with a producer does not close"
        self.disconnecting = True

    def abortConnection(self) -> None:
        self.aborted = True


class Peer:
    """The other side of a protocol."""

    def __init__(self, protocol: Http2Protocol, clock: Clock, *, client: bool, greet: bool = True) -> None:
        self.protocol = protocol
        self.clock = clock
        self.transport = MemoryTransport()
        self.h2 = H2Connection(H2Configuration(client_side=client, header_encoding="latin-1"))
        self.events: list[Event] = []
        protocol.makeConnection(self.transport)  # type: ignore[arg-type]
        if greet:
            self.h2.initiate_connection()
            self.flush()

    def flush(self) -> None:
        """Exchange what both sides have to say, until they have said all."""
        while (data := self.h2.data_to_send()) or self.transport.written:
            if data and not self.gone:
                self.send(data)
            said = bytes(self.transport.written)
            self.transport.written.clear()
            self.events += self.h2.receive_data(said) if said else []

    def send(self, data: bytes) -> None:
        """Have the protocol receive bytes, and process them all."""
        self.protocol.dataReceived(data)
        while not (self.transport.reading or self.gone):
            self.clock.advance(0)

    @property
    def gone(self) -> bool:
        return self.transport.aborted or self.transport.disconnecting

    def lose(self) -> None:
        """End the connection, as it was asked for or by itself."""
        reason = ConnectionAborted() if self.transport.aborted else ConnectionDone()
        self.protocol.connectionLost(Failure(reason))

    def of(self, kind: type[E], stream_id: int | None = None) -> list[E]:
        """Return the events of one kind."""
        return [
            event
            for event in self.events
            if isinstance(event, kind) and stream_id in {None, getattr(event, "stream_id", None)}
        ]


HEADERS = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/test.Echo/Echo"),
    (":authority", "test"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
]


def headers(**changed: str) -> list[tuple[str, str]]:
    """Return a request's headers; ``grpc_timeout="1S"`` adds or replaces one, ``path=`` a pseudo header."""
    names = {"path": ":path", "method": ":method"}
    extra = {names.get(name, name.replace("_", "-")): value for name, value in changed.items()}
    kept = [(name, extra.pop(name, value)) for name, value in HEADERS]
    return [*kept, *extra.items()]


class Caller(Peer):
    """A client of an `RpcServer`."""

    def __init__(self, server: RpcServer, clock: Clock, *, greet: bool = True) -> None:
        super().__init__(server.protocol(None), clock, client=True, greet=greet)  # type: ignore[arg-type]

    def open(self, *, end: bool = False, **changed: str) -> int:
        """Open a stream with a request's headers."""
        stream_id = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream_id, headers(**changed), end_stream=end)
        return stream_id

    def call(self, data: bytes = encode_message(b""), **changed: str) -> int:
        """Send a whole request."""
        stream_id = self.open(**changed)
        self.h2.send_data(stream_id, data, end_stream=True)
        self.flush()
        return stream_id

    def status(self, stream_id: int) -> tuple[str | None, str | None]:
        """Return grpc-status and grpc-message of an answer."""
        for event in self.events:
            fields = dict(getattr(event, "headers", None) or ())
            if getattr(event, "stream_id", None) == stream_id and "grpc-status" in fields:
                return fields["grpc-status"], fields.get("grpc-message")
        return None, None
