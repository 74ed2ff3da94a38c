"""The gRPC server: unary and server-streaming calls over transports of `meshtx.net`.

Bounds, beside those of a call (`meshtx.rpc.call`) and of HTTP/2 (`meshtx.rpc.http2`): connections, calls at
once on a connection, bytes of requests held over all connections, seconds until a client has said that it
speaks HTTP/2. Idle connections may stay; past the bound the one that was idle longest makes room. One is at work
while a handler is: not for as long as its client chooses, who has a request to send or an answer to take.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, RemoteSettingsChanged, RequestReceived, StreamEnded, StreamReset
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IProtocol, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from meshtx.net.deadline import call_off
from meshtx.net.tls import Session
from meshtx.pki.name import Name
from meshtx.rpc.call import Budget, Call, Handler, Limits
from meshtx.rpc.connections import Connections, Full, Seat
from meshtx.rpc.frame_filter import GoAway
from meshtx.rpc.framing import MAX_MESSAGE
from meshtx.rpc.headers import NotGrpc, RequestHead, parse_request, response_headers, trailers
from meshtx.rpc.http2 import Http2Error, Http2Protocol
from meshtx.rpc.method import AnyMethod
from meshtx.rpc.plain_answer import PlainAnswer
from meshtx.rpc.status import RpcError, Status
from meshtx.rpc.work_queue import WorkQueue

PREFACE_TIMEOUT = 10.0
"""Seconds from a connection to its client's first settings."""


class RpcServer:
    """Serves methods on any number of connections.

    :param handlers: what each method does.
    :param max_message: bytes of a request.
    :param max_streams: calls that one connection may make at once.
    :param max_connections: connections at once.
    :param max_held: bytes of requests held at once; default: 64 requests of the full size.
    :param request_timeout: seconds for a request to come, and for its answer to be taken.
    :param limited: called whenever `max_connections` costs somebody a connection.
    """

    log = Logger()

    def __init__(
        self,
        handlers: Mapping[AnyMethod, Handler],
        clock: IReactorTime,
        *,
        max_message: int = MAX_MESSAGE,
        max_streams: int = 100,
        max_connections: int = 500,
        max_held: int | None = None,
        request_timeout: float = 20.0,
        limited: Callable[[], None] = lambda: None,
    ) -> None:
        self.clock = clock
        self.routes = {method.path: (method, handler) for method, handler in handlers.items()}
        self.max_streams = max_streams
        self.limits = Limits(max_message, request_timeout, request_timeout)
        self.budget = Budget(64 * max_message if max_held is None else max_held)
        self.work = WorkQueue(clock)
        self.connections = Connections(max_connections, limited)
        self.open: set[ServerConnection] = set()
        self._stopped: Deferred[None] | None = None
        self._grace: IDelayedCall | None = None

    @property
    def stopping(self) -> bool:
        """Whether new calls are refused."""
        return self._stopped is not None

    def protocol(self, session: Session | None) -> IProtocol:
        """Return the protocol for one connection.

        :param session: what its TLS has proved; ``None`` on plain TCP.
        """
        return ServerConnection(self, session.peer if session else None)

    def stop(self, grace: float) -> Deferred[None]:
        """Take no new calls, let those that run end, and close all connections. To be called once.

        :param grace: seconds after which what still runs is cut off.
        """
        self._stopped = Deferred()
        stopped = self._stopped
        for connection in list(self.open):
            connection.drain()
        if not self.open:
            return succeed(None)
        self._grace = self.clock.callLater(grace, self._cut)
        return stopped

    def closed(self, connection: ServerConnection) -> None:
        """Forget a connection that is lost."""
        self.open.discard(connection)
        if self._grace is not None and not self.open:
            grace, self._grace = self._grace, None
            call_off(grace)
            if self._stopped is not None:
                self._stopped.callback(None)

    def _cut(self) -> None:
        for connection in list(self.open):
            connection.abort(Http2Error("the server stops"))


class ServerConnection(Http2Protocol):
    """One client's connection."""

    log = Logger()

    def __init__(self, server: RpcServer, peer: Name | None) -> None:
        super().__init__(server.clock, client=False, max_streams=server.max_streams, work=server.work)
        self._server = server
        self._peer = peer
        self._calls: dict[int, Call | PlainAnswer] = {}
        self._running = 0
        self._seat: Seat | None = None
        self._preface: IDelayedCall | None = None
        self._draining = False

    def connectionMade(self) -> None:
        """Take a seat, and greet the client."""
        self._server.open.add(self)
        try:
            self._seat = self._server.connections.enter(self._make_room)
        except Full:
            self.transport.abortConnection()
            return
        silent = Http2Error("no HTTP/2 preface in time")
        self._preface = self.clock.callLater(PREFACE_TIMEOUT, self.abort, silent)
        super().connectionMade()
        if self._server.stopping:
            self.drain()

    def _make_room(self) -> None:
        """Close the connection, which is not at work, whatever its client has begun."""
        if self._calls:
            self.abort(Http2Error("others need its place"))
        else:
            self.drain()

    def drain(self) -> None:
        """Take no new calls, and close the connection behind the last that runs."""
        if not self._draining:
            self._draining = True
            self.say_goaway()
        self._close_if_done()

    def peer_goes(self, _goaway: GoAway) -> None:
        """The client opens no new call; those that run go on."""
        self._draining = True
        self._close_if_done()

    def ended(self, _reason: Failure) -> None:
        """Cancel what runs."""
        preface, self._preface = self._preface, None  # one that has come leads back here
        call_off(preface)
        if self._seat is not None:
            self._seat.leave()
        for call in list(self._calls.values()):
            call.gone()
        self._server.closed(self)

    def received(self, event: Event) -> None:
        """Take one event of the connection."""
        match event:
            case RequestReceived(stream_id=stream_id) if self.is_over(stream_id):
                pass  # reset in the same breath: nobody would take an answer
            case RequestReceived(stream_id=stream_id, headers=headers):
                self._request(stream_id, [(str(name), str(value)) for name, value in headers])
            case DataReceived(stream_id=stream_id, data=data, flow_controlled_length=size):
                self.acknowledge(stream_id, size)
                if call := self._calls.get(stream_id):
                    call.receive_data(data)
            case StreamEnded(stream_id=stream_id):
                if call := self._calls.get(stream_id):
                    call.request_ended()
            case StreamReset(stream_id=stream_id):
                if call := self._calls.get(stream_id):
                    call.gone()
            case RemoteSettingsChanged() if self._preface is not None and self._preface.active():
                self._preface.cancel()

    def stream_sent(self, stream_id: int) -> None:
        """End the call."""
        if call := self._calls.get(stream_id):
            call.sent()

    def stream_drains(self, stream_id: int) -> None:
        """Let the handler send more."""
        if call := self._calls.get(stream_id):
            call.drained()

    def _request(self, stream_id: int, headers: list[tuple[str, str]]) -> None:
        if self._draining or len(self._calls) >= self.max_streams:
            self.reset_stream(stream_id, ErrorCodes.REFUSED_STREAM)
            self.spend()
            return
        match parse_request(headers):
            case NotGrpc() as answer:
                self._answer_plainly(stream_id, answer)
            case RpcError(status=status, message=message):
                self._refuse(stream_id, response_headers() + trailers(status, message))
            case RequestHead(path=path) if path not in self._server.routes:
                ending = trailers(Status.UNIMPLEMENTED, f"unknown method {path[:200]}")
                self._refuse(stream_id, response_headers() + ending)
            case RequestHead(path=path, timeout=timeout):
                self._start(stream_id, path, timeout)

    def _refuse(self, stream_id: int, answer: list[tuple[str, str]]) -> None:
        self.spend()
        self.send_headers(stream_id, answer, end=True)
        self.reset_stream(stream_id, ErrorCodes.NO_ERROR)

    def _answer_plainly(self, stream_id: int, answer: NotGrpc) -> None:
        plain = PlainAnswer(self, stream_id, answer, self._server.limits.drain, partial(self._ended, stream_id))
        self._calls[stream_id] = plain
        plain.start()

    def _ended(self, stream_id: int) -> None:
        self._calls.pop(stream_id, None)
        self._close_if_done()

    def _start(self, stream_id: int, path: str, timeout: float | None) -> None:
        method, handler = self._server.routes[path]
        self._calls[stream_id] = Call(
            self,
            stream_id,
            method,
            handler,
            peer=self._peer,
            timeout=timeout,
            limits=self._server.limits,
            budget=self._server.budget,
            at_work=self._at_work,
            over=partial(self._ended, stream_id),
        )

    def _at_work(self, begins: bool) -> None:
        self._running += 1 if begins else -1
        if self._seat is not None and self._running == int(begins):
            (self._seat.busy if begins else self._seat.idle)()

    def _close_if_done(self) -> None:
        if self._draining and not self._calls:
            self.shut()
