"""The gRPC client: one connection, any number of calls.

A call beyond what the server takes at once waits for its turn, its timeout running. When the connection fails,
what waits and what runs fails with `Status.UNAVAILABLE` and the cause. Tried again is only what the server says
that it has not looked at (REFUSED_STREAM: RFC 9113, section 8.7).

Servers refuse calls within the number that they take, too: grpcio's counts one that it has answered until it has
freed it. So who refuses a call is given no more than it has, and the call is the next whose turn it is.
One more than that is let go after a pause, until the server takes what it said.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from meshtx.rpc.client_call import ClientCall, Consumer
from meshtx.rpc.frame_filter import GoAway
from meshtx.rpc.framing import MAX_MESSAGE, encode_message
from meshtx.rpc.headers import request_headers
from meshtx.rpc.http2 import Http2Protocol
from meshtx.rpc.method import A, AnyMethod, Method, Q
from meshtx.rpc.status import RpcError, Status, from_reset

MAX_CALLS = 100
"""Calls at once; fewer if the server says so, and one until it has said anything."""

PAUSE = 0.01
"""Seconds until a server that has refused a call is given one more than it has."""

MAX_DOUBLINGS = 6
"""The pause doubles with each refusal of the call whose turn it is, up to this often: 0.64 s."""

MAX_QUEUE = 1000
"""Calls that wait for their turn."""

WINDOW = 2**20
"""Bytes that the server may send before we have taken any, over all calls; 65,535 of them for one call. So a
consumer that takes its time does not hold up the other calls."""


class RpcClient(Http2Protocol):
    """The protocol of an established TLS or TCP connection; calls may be made before it is connected.

    :param authority: what calls carry as ``:authority``; the server's name.
    :param secure: whether calls say that they come over TLS.
    :param max_message: bytes of a message in an answer.
    """

    def __init__(
        self, clock: IReactorTime, *, authority: str, secure: bool = True, max_message: int = MAX_MESSAGE
    ) -> None:
        super().__init__(clock, client=True, max_streams=0)
        self._h2.increment_flow_control_window(WINDOW - 65_535)
        self._authority = authority
        self._scheme = "https" if secure else "http"
        self._max_message = max_message
        self._calls: dict[int, ClientCall] = {}
        self._queue: deque[ClientCall] = deque()
        self._said = 1
        """Calls at once that the server takes, as it says."""
        self._most = 1
        """Those that it is given: fewer, once it has refused one."""
        self._pause: IDelayedCall | None = None
        self._gone: RpcError | None = None

    def call(self, method: Method[Q, A], request: Q, timeout: float) -> Deferred[A]:
        """Call a unary method; cancel the Deferred to give up.

        :param timeout: seconds until it fails with `Status.DEADLINE_EXCEEDED`; the server is told.
        :raises RpcError: the call did not succeed.
        """
        messages: list[A] = []

        def keep(message: A) -> None:
            if messages:
                raise RpcError(Status.INTERNAL, "more than one message in the answer")
            messages.append(message)

        def only(_: None) -> A:
            if not messages:
                raise RpcError(Status.INTERNAL, "no message in the answer")
            return messages[0]

        return self._begin(method, request, keep, timeout).addCallback(only)

    def stream(
        self,
        method: Method[Q, A],
        request: Q,
        on_message: Callable[[A], Deferred[None] | None],
        timeout: float | None = None,
    ) -> Deferred[None]:
        """Call a method that answers with any number of messages; cancel the Deferred to end it.

        :param on_message: called with each in turn. While a Deferred that it returned has not fired, nothing
            more is read. What it raises ends the call.
        :param timeout: seconds for the whole of it, ``None`` for no limit.
        :return: fires at the answer's end.
        :raises RpcError: the call did not succeed.
        """
        return self._begin(method, request, on_message, timeout)

    @property
    def over(self) -> bool:
        """No call can begin any more: the connection is lost or closed, or the server is going away."""
        return self._gone is not None or self.closing

    def close(self) -> None:
        """Close the connection; what waits and what runs fails with `Status.CANCELLED`."""
        self._fail(RpcError(Status.CANCELLED, "the client was closed"))
        self._close_if_done()

    # From the connection.

    def received(self, event: Event) -> None:
        """Take one event of the connection."""
        call = self._calls.get(getattr(event, "stream_id", 0))
        match event:
            case RemoteSettingsChanged():
                self._said = self._most = min(MAX_CALLS, self._h2.remote_settings.max_concurrent_streams)
                self._open_next()
            case DataReceived(stream_id=stream_id, flow_controlled_length=size) if call is None:
                self.acknowledge(stream_id, size)
            case _ if call is None:
                pass
            case ResponseReceived(headers=headers):
                call.receive_head((str(name), str(value)) for name, value in headers)
            case DataReceived(data=data, flow_controlled_length=size):
                call.receive_data(data, size)
            case TrailersReceived(headers=headers):
                call.receive_trailers((str(name), str(value)) for name, value in headers)
            case StreamEnded():
                call.receive_end()
            case StreamReset(error_code=ErrorCodes.REFUSED_STREAM) if self._gone is None and not call.begun:
                self._refused(call)
            case StreamReset(error_code=code):
                call.end(from_reset(int(code)))

    def peer_goes(self, goaway: GoAway) -> None:
        """The server takes no new call, and will not look at those behind the last that it names."""
        gone = self._gone = RpcError(Status.UNAVAILABLE, f"the server is going away (code {goaway.code})")
        for call in [*self._queue, *(call for call in self._calls.values() if call.stream_id > goaway.last)]:
            call.end(gone)
        self._close_if_done()

    def ended(self, reason: Failure) -> None:
        """Fail what waits and what runs."""
        error = RpcError(Status.UNAVAILABLE, f"the connection was lost: {reason.getErrorMessage()}")
        error.__cause__ = reason.value
        self._fail(error)
        if self._pause is not None:
            self._pause.cancel()

    # From the calls.

    def consumed(self, stream_id: int, size: int) -> None:
        """Let the server send more."""
        self.acknowledge(stream_id, size)
        self.pump()

    def finished(self, call: ClientCall) -> None:
        """Forget a call, and let the next have its turn."""
        if call.stream_id:
            del self._calls[call.stream_id]
            self.reset_stream(call.stream_id, ErrorCodes.CANCEL)
        else:
            self._queue.remove(call)
        self._open_next()
        self._close_if_done()

    def _begin(self, method: AnyMethod, request: Q, consumer: Consumer, timeout: float | None) -> Deferred[None]:
        if self._gone is not None:
            return fail(self._gone)
        if len(self._queue) >= MAX_QUEUE:
            return fail(RpcError(Status.RESOURCE_EXHAUSTED, f"{MAX_QUEUE} calls wait already"))
        call = ClientCall(self, method, encode_message(request.SerializeToString()), consumer, self._max_message)
        if timeout is not None:
            call.deadline = self.clock.seconds() + timeout
            call.timer = self.clock.callLater(timeout, self._too_late, call, timeout)
        self._queue.append(call)
        self._open_next()
        return call.result

    def _open_next(self) -> None:
        if self.closing:
            return  # nothing is sent any more, not even what makes the next stream another: they fail in `ended`
        while self._queue and len(self._calls) < self._most:
            self._open(self._queue.popleft())
        if self._queue and self._most < self._said and self._pause is None:
            doublings = min(self._queue[0].refusals, MAX_DOUBLINGS)
            self._pause = self.clock.callLater(PAUSE * 2**doublings, self._give_one_more)

    def _open(self, call: ClientCall) -> None:
        stream_id = call.stream_id = self._h2.get_next_available_stream_id()
        self._calls[stream_id] = call
        left = None if call.deadline is None else call.deadline - self.clock.seconds()
        self.send_headers(stream_id, request_headers(call.method.path, self._scheme, self._authority, left))
        self.send_data(stream_id, call.request)
        self.send_end(stream_id, None)

    def _refused(self, call: ClientCall) -> None:
        del self._calls[call.stream_id]
        call.stream_id = 0
        call.refusals += 1
        self._queue.appendleft(call)
        self._most = min(self._most, len(self._calls))
        self._open_next()

    def _give_one_more(self) -> None:
        self._pause = None
        self._most = min(self._most + 1, self._said)
        self._open_next()

    def _too_late(self, call: ClientCall, timeout: float) -> None:
        refused = f", refused {call.refusals} times" if call.refusals else ""
        call.end(RpcError(Status.DEADLINE_EXCEEDED, f"no answer within {timeout:g} s{refused}"))

    def _fail(self, error: RpcError) -> None:
        if self._gone is None:
            self._gone = error
        for call in [*self._queue, *self._calls.values()]:
            call.end(error)

    def _close_if_done(self) -> None:
        if self._gone is not None and not self._calls:
            self.say_goaway()
            self.shut()
