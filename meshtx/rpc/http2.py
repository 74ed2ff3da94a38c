"""HTTP/2 on a transport of ours: what the gRPC client and server share. RFC 9113, by the h2 library.

h2 knows the protocol; this moves bytes and keeps the bounds that h2 leaves to its user:

- DATA waits here, a queue a stream, until flow control and the transport both let it go;
- while the transport is full nothing but control frames is written, and at most `MAX_CONTROL` bytes of those;
- input is processed in slices, the connections of a server in turn, and nothing is read meanwhile (`SlicedInput`);
- what costs its sender next to nothing is counted, and too much of it ends the connection: ENHANCE_YOUR_CALM;
- a closed connection that does not end is aborted after `LINGER` seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from h2.config import H2Configuration
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IHalfCloseableProtocol,
    IPushProducer,
    IReactorTime,
)
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from meshtx.errors import PeerError
from meshtx.net.deadline import call_off
from meshtx.rpc.bounded import BoundedConnection
from meshtx.rpc.frame_filter import Batch, GoAway, TooLong, encode_goaway
from meshtx.rpc.headers import Headers
from meshtx.rpc.sliced_input import SlicedInput
from meshtx.rpc.token_bucket import TokenBucket
from meshtx.rpc.work_queue import WorkQueue
from meshtx.wire.sniff import PREFACE

MAX_HEADERS = 16 * 2**10
"""Bytes of one header block as RFC 9113, section 6.5.2 counts them."""

MAX_CONTROL = 64 * 2**10
"""Bytes of control frames that wait for a peer which does not read."""

LINGER = 5.0
"""Seconds between closing a connection and aborting it."""

TOKENS = 1000.0
TOKENS_PER_SECOND = 100.0
"""What a peer may spend at once, and gains with time: pings, settings, resets, tiny DATA, long heads, a token each or
more. It stops floods such as CVE-2019-9512 (ping), CVE-2019-9515 (settings) and CVE-2023-44487 (rapid reset); an
ordinary peer, which pings once a round trip and cancels some calls, never comes near the end of it."""

MANY_FIELDS = 64
"""Fields of a header block that cost nothing; of more, a token for each `_FIELDS_A_TOKEN`."""

TINY = 64
"""Bytes: a client's DATA frame with fewer costs a token, unless it ends the request. An answer gives one back."""

_FIELDS_A_TOKEN = 16
_SAID = 200
"""Characters of what h2 says of a defect, which may quote the peer."""

_HEADER_TABLE = 4096
_CHUNK = 2**14
_WINDOWS = 2
"""Frames that a peer may answer one of DATA with: the connection's window, and the stream's."""


class Http2Error(PeerError):
    """The peer broke HTTP/2 or a bound; the connection is over."""


@dataclass(slots=True)
class _Outgoing:
    """What one stream still has to send."""

    data: bytearray = field(default_factory=bytearray)
    trailers: Headers | None = None
    ended: bool = False


@implementer(IPushProducer, IHalfCloseableProtocol)
class Http2Protocol(SlicedInput):
    """One connection. A subclass implements the methods below "for the role" and calls those "of the stream".

    :param max_streams: streams that the peer may have open at once.
    :param work: shared with other connections; without, the connection has one of its own.
    """

    def __init__(self, clock: IReactorTime, *, client: bool, max_streams: int, work: WorkQueue | None = None) -> None:
        super().__init__(0 if client else len(PREFACE), work or WorkQueue(clock))
        self.clock = clock
        self.max_streams = max_streams
        self._h2 = BoundedConnection(H2Configuration(client_side=client, header_encoding="latin-1"))
        self._tokens = TokenBucket(clock.seconds, TOKENS, TOKENS_PER_SECOND)
        self._tiny = 1 if client else TINY
        self._outgoing: dict[int, _Outgoing] = {}
        self._connected = False
        self._blocked = False
        self._pumping = False
        self._again = False
        self._control = 0
        self._cause: Http2Error | None = None
        self._linger: IDelayedCall | None = None
        self._initiate(client)

    def _initiate(self, client: bool) -> None:
        limits = {SettingCodes.MAX_CONCURRENT_STREAMS: self.max_streams, SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADERS}
        if client:
            limits[SettingCodes.ENABLE_PUSH] = 0
        self._h2.decoder.max_header_list_size = MAX_HEADERS
        self._h2.local_settings = Settings(client=client, initial_values=limits)
        self._h2.initiate_connection()
        # h2 ends the connection when the peer opens one stream too many, which it may before it has seen our
        # settings. We refuse such a stream by itself, so h2 is told a bound that we never let it reach.
        hidden = limits | {SettingCodes.MAX_CONCURRENT_STREAMS: self.max_streams * 4 + 100}
        self._h2.local_settings = Settings(client=client, initial_values=hidden)

    # For the role.

    def received(self, event: Event) -> None:
        """Take one event of h2. No more come once `shut` was called."""

    def peer_goes(self, goaway: GoAway) -> None:
        """The peer opens (server) or takes (client) no new stream."""

    def stream_sent(self, stream_id: int) -> None:
        """The stream's last byte has gone to the transport."""

    def stream_drains(self, stream_id: int) -> None:
        """Bytes of the stream have gone to the transport."""

    def ended(self, reason: Failure) -> None:
        """The connection is over."""

    # Of the stream.

    def send_headers(self, stream_id: int, headers: Headers, *, end: bool = False) -> None:
        """Send a header block. Like all that sends, it does nothing once the connection is closing."""
        if not self.closing:
            self._h2.send_headers(stream_id, headers, end_stream=end)

    def send_data(self, stream_id: int, data: bytes) -> None:
        """Queue bytes behind those that wait."""
        if not self.closing:
            self._outgoing.setdefault(stream_id, _Outgoing()).data += data
            self.pump()

    def send_end(self, stream_id: int, trailers: Headers | None) -> None:
        """End our side of the stream once all that waits is sent, with a header block or without."""
        if not self.closing:
            outgoing = self._outgoing.setdefault(stream_id, _Outgoing())
            outgoing.ended, outgoing.trailers = True, trailers
            self.pump()

    def waiting(self, stream_id: int) -> int:
        """Return the bytes that the stream has still to send."""
        outgoing = self._outgoing.get(stream_id)
        return len(outgoing.data) if outgoing else 0

    def is_over(self, stream_id: int) -> bool:
        """Return whether a stream has ended both ways, or all have; the event of its reset may be still to come."""
        stream = None if self.closing else self._h2.streams.get(stream_id)
        return stream is None or stream.closed

    def reset_stream(self, stream_id: int, code: ErrorCodes) -> None:
        """End the stream both ways at once; a stream that is already over stays as it is."""
        self._outgoing.pop(stream_id, None)
        if not self.is_over(stream_id):
            self._h2.reset_stream(stream_id, code)
        self.pump()

    def acknowledge(self, stream_id: int, size: int) -> None:
        """Let the peer send as many bytes more."""
        if size and not self.closing:
            self._h2.acknowledge_received_data(size, stream_id)

    # Of the connection.

    def say_goaway(self) -> None:
        """Tell the peer to open no new stream; h2's own GOAWAY would end those that run."""
        if self._connected and not self.closing:
            self._flush()
            self.transport.write(encode_goaway(self._h2.highest_inbound_stream_id))

    def shut(self) -> None:
        """Close the connection in order: what was written is sent, what waits is dropped."""
        if self.closing:
            return
        self._flush()
        self.closing = True
        self._outgoing.clear()
        if self._connected:
            cast("IConsumer", self.transport).unregisterProducer()
            self.transport.loseConnection()
            self._linger = self.clock.callLater(LINGER, self.transport.abortConnection)

    def abort(self, error: Http2Error) -> None:
        """End the connection at once: the peer is not one to wait for."""
        self.closing, self._cause = True, error
        self._outgoing.clear()
        if self._connected:
            self.transport.abortConnection()

    def crashed(self) -> None:
        """End the connection: something of ours has failed."""
        self.abort(Http2Error("a defect of ours; the log has it"))

    # Twisted's side.

    def connectionMade(self) -> None:
        """Send what was prepared before there was a transport."""
        if self.closing:
            self.transport.loseConnection()
            return
        self._connected = True
        cast("IConsumer", self.transport).registerProducer(self, True)
        self.pump()

    def process(self, batch: Batch) -> None:
        """Hand frames to h2 and its events to the role."""
        if batch.unpaid:
            self.spend(batch.unpaid)
        if self.closing:
            return
        try:
            events = self._h2.receive_data(batch.passed) if batch.passed else []
        except ProtocolError as error:
            self._cause = Http2Error(f"the peer broke HTTP/2: {str(error)[:_SAID]}")
            self.shut()  # h2 has a GOAWAY with the code ready
            return
        unheard = batch.data
        for event in events:
            if self.closing:
                return
            unheard -= type(event) is DataReceived
            self._bound(event)
            self.received(event)
        if unheard:  # DATA on streams that were reset, which h2 drops without an event
            self.spend(unheard)
        for each in batch.found:
            if not self.closing:
                self._found(each)
        self.pump()

    def readConnectionLost(self) -> None:
        """Close too: a peer that sends nothing more opens no window either, and a producer holds a transport open."""
        self.shut()

    def writeConnectionLost(self) -> None:
        """Our end is sent; `connectionLost` follows."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the role."""
        call_off(self._linger)
        self.closing, self._connected = True, False
        self._outgoing.clear()
        self.ended(reason if self._cause is None else Failure(self._cause))
        vars(self._h2).clear()  # it leads to itself, by a table of its own methods

    def pauseProducing(self) -> None:
        """The transport is full."""
        self._blocked, self._control = True, 0

    def resumeProducing(self) -> None:
        """The transport takes bytes again."""
        self._blocked = False
        self.pump()

    def stopProducing(self) -> None:
        """The transport is lost; `connectionLost` follows."""

    def pump(self) -> None:
        """Send what flow control and the transport let go, the streams in turn."""
        self._again = True
        if self._pumping or self.closing or not self._connected:
            return
        self._pumping = True
        try:
            while self._again:
                self._again = False
                for stream_id, outgoing in list(self._outgoing.items()):
                    self._send_some(stream_id, outgoing)
        finally:
            self._pumping = False
        self._flush()

    def _send_some(self, stream_id: int, outgoing: _Outgoing) -> None:
        """Send one frame's worth. The role may do anything when it is told of it."""
        if self._outgoing.get(stream_id) is not outgoing or self.is_over(stream_id):
            return
        window = 0 if self._blocked else self._h2.local_flow_control_window(stream_id)
        size = min(len(outgoing.data), window, self._h2.max_outbound_frame_size, _CHUNK)
        if size > 0:
            self._again = True
            self._h2.send_data(stream_id, bytes(outgoing.data[:size]))
            self._tokens.refill(_WINDOWS)
            del outgoing.data[:size]
            self._flush()
        if outgoing.ended and not outgoing.data:
            self._send_end(stream_id, outgoing.trailers)
        elif size > 0:
            self.stream_drains(stream_id)

    def _send_end(self, stream_id: int, trailers: Headers | None) -> None:
        del self._outgoing[stream_id]
        self._tokens.refill(1)
        if trailers is None:
            self._h2.end_stream(stream_id)
        else:
            self._h2.send_headers(stream_id, trailers, end_stream=True)
        self.stream_sent(stream_id)

    def _flush(self) -> None:
        data = self._h2.data_to_send() if self._connected else b""
        if not data:
            return
        if self._blocked:
            self._control += len(data)
            if self._control > MAX_CONTROL:
                self.abort(Http2Error("the peer does not read the answers to its control frames"))
                return
        self.transport.write(data)

    def _found(self, what: GoAway | TooLong) -> None:
        match what:
            case GoAway():
                self.peer_goes(what)
            case TooLong(size, limit):
                self._cause = Http2Error(f"the peer sent a frame or head of {size} bytes, at most {limit}")
                self._h2.close_connection(what.code)
                self.shut()

    def _bound(self, event: Event) -> None:
        match event:
            case RemoteSettingsChanged():
                # Else the peer could have the encoder remember all that it ever sent (up to 4 GiB).
                self._h2.encoder.header_table_size = min(self._h2.encoder.header_table_size, _HEADER_TABLE)
            case StreamReset(stream_id=stream_id):
                self._outgoing.pop(stream_id, None)
            case DataReceived(data=data, stream_ended=None) if len(data) < self._tiny:
                self.spend()
            case RequestReceived(headers=headers) | TrailersReceived(headers=headers) if len(headers) > MANY_FIELDS:
                self.spend(len(headers) // _FIELDS_A_TOKEN)

    def spend(self, tokens: int = 1) -> None:
        """Count what costs the peer next to nothing; too much ends the connection."""
        if not self.closing and not self._tokens.take(tokens):
            self._cause = Http2Error("the peer sent too many frames that ask for work")
            self._h2.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
            self.shut()
