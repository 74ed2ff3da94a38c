"""One call at the server: from its first header to the last byte of its answer.

    RECEIVING ──request complete──▶ RUNNING ──answered──▶ ENDING ──sent──▶ OVER
        └────────refused──────────────┴────failed──────▶ ┘  ▲
                                                             └── reset, connection lost, too slow (from every phase)

Each phase has its own limit of time: `Limits.request` for RECEIVING, the caller's deadline for it and RUNNING,
`Limits.drain` for ENDING.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Protocol

from google.protobuf.message import Message
from h2.errors import ErrorCodes
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from meshtx.net.deadline import call_off
from meshtx.net.failures import without_frames
from meshtx.pki.name import Name
from meshtx.rpc.framing import MAX_MESSAGE, Broken, MessageParser, encode_message
from meshtx.rpc.headers import Headers, response_headers, trailers
from meshtx.rpc.method import AnyMethod, parse_message
from meshtx.rpc.status import RpcError, Status

READY = 64 * 2**10
"""Bytes: a stream with at most as many waiting takes another message."""

MAX_WAITING = 2**20
"""Bytes: a stream with more waiting refuses another message, whoever did not wait for `Call.ready`."""

LONGEST = 86_400.0
"""Seconds; a deadline beyond it is none (a timer of years is not one that a poller can wait for)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server grants one call.

    :param message: bytes of a request.
    :param request: seconds for the whole request to come.
    :param drain: seconds for the caller to take the answer once it is complete.
    """

    message: int = MAX_MESSAGE
    request: float = 20.0
    drain: float = 20.0


class Budget:
    """Bytes of requests that a server holds, over all its connections.

    Where there is no room, the request that has been coming longest goes: who sends all of his at once need not wait
    for those who do not.
    """

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._coming: dict[Call, None] = {}

    def take(self, size: int, call: Call) -> bool:
        """Take as many for a request that is coming; return whether there were."""
        self._coming.setdefault(call)
        while size > self._left:
            oldest = next(iter(self._coming))
            oldest.fail(RpcError(Status.RESOURCE_EXHAUSTED, "the server holds as many requests as it can"))
            if oldest is call:
                return False
        self._left -= size
        return True

    def came(self, call: Call) -> None:
        """The request is whole, or will not be: it does not go for others any more."""
        self._coming.pop(call, None)

    def give(self, size: int) -> None:
        """Give them back."""
        self._left += size

    @property
    def left(self) -> int:
        """How many there are to take."""
        return self._left


class Stream(Protocol):
    """What a call needs of its connection (`meshtx.rpc.http2.Http2Protocol`)."""

    clock: IReactorTime

    def send_headers(self, stream_id: int, headers: Headers, *, end: bool = False) -> None: ...  # noqa: D102
    def send_data(self, stream_id: int, data: bytes) -> None: ...  # noqa: D102
    def send_end(self, stream_id: int, trailers: Headers | None) -> None: ...  # noqa: D102
    def waiting(self, stream_id: int) -> int: ...  # noqa: D102
    def is_over(self, stream_id: int) -> bool: ...  # noqa: D102
    def reset_stream(self, stream_id: int, code: ErrorCodes) -> None: ...  # noqa: D102


class _Phase(Enum):
    RECEIVING = auto()
    RUNNING = auto()
    ENDING = auto()
    OVER = auto()


class Call:
    """What a handler is given beside the request.

    :param peer: the caller's name, as its certificate proved it; ``None`` where it had to prove none.
    :param at_work: called with true when its handler begins, and with false when that has ended.
    :param over: called once, when nothing is left to do for the call.
    """

    log = Logger()

    def __init__(
        self,
        stream: Stream,
        stream_id: int,
        method: AnyMethod,
        handler: Handler,
        *,
        peer: Name | None,
        timeout: float | None,
        limits: Limits,
        budget: Budget,
        at_work: Callable[[bool], None],
        over: Callable[[], None],
    ) -> None:
        self.peer = peer
        self.method = method
        self._stream = stream
        self._id = stream_id
        self._handler = handler
        self._limits = limits
        self._budget = budget
        self._at_work = at_work
        self._over = over
        self._phase = _Phase.RECEIVING
        self._parser = MessageParser(limits.message)
        self._request: bytes | None = None
        self._complete = False
        self._held = 0
        self._opened = False
        self._running: Deferred[None] | None = None
        self._ready: list[Deferred[None]] = []
        clock = stream.clock
        self._timer: IDelayedCall | None = clock.callLater(limits.request, self._too_late, "the request did not come")
        self._deadline: IDelayedCall | None = None
        if timeout is not None and timeout < LONGEST:
            self._deadline = clock.callLater(timeout, self._too_late, "the caller's deadline has passed")

    # For the handler.

    def ready(self) -> Deferred[None]:
        """Wait until the caller has taken most of what was sent.

        :raises RpcError: there is no caller any more.
        """
        if self._phase is not _Phase.RUNNING:
            return fail(RpcError(Status.CANCELLED, "the call is over"))
        if self._stream.waiting(self._id) <= READY:
            return succeed(None)
        waiter: Deferred[None] = Deferred(self._ready.remove)
        self._ready.append(waiter)
        return waiter

    def send(self, message: Message) -> None:
        """Send one message of the answer. A handler that sends many awaits `ready` before each.

        :raises RpcError: there is no caller any more, or it is far behind.
        """
        self.send_encoded((message.SerializeToString(),))

    def send_encoded(self, messages: Sequence[bytes]) -> None:
        """Send messages of the answer, each in its octets, together: one frame where `send` makes one of each.

        :raises RpcError: as `send` does.
        """
        if self._phase is not _Phase.RUNNING or self._stream.is_over(self._id):
            raise RpcError(Status.CANCELLED, "the call is over")
        if self._stream.waiting(self._id) > MAX_WAITING:
            raise RpcError(Status.RESOURCE_EXHAUSTED, "the caller reads too slowly")
        if not self._opened:
            self._opened = True
            self._stream.send_headers(self._id, response_headers())
        self._stream.send_data(self._id, b"".join([encode_message(each) for each in messages]))

    # For the connection.

    def receive_data(self, data: bytes) -> None:
        """Take bytes of the request; those of a refused one are dropped."""
        if self._phase is not _Phase.RECEIVING:
            return
        if not self._budget.take(len(data), self):
            return
        self._held += len(data)
        for item in self._parser.receive_data(data):
            if isinstance(item, Broken):
                self.fail(item.error)
                return
            if self._request is not None:
                self.fail(RpcError(Status.UNIMPLEMENTED, "more than one message in a request"))
                return
            self._request = item

    def request_ended(self) -> None:
        """Start the handler, if the request is one whole message."""
        self._complete = True
        if self._phase is not _Phase.RECEIVING or self._stream.is_over(self._id):
            return  # answered already, or reset in the same breath
        if self._request is None or self._parser.unfinished:
            self.fail(RpcError(Status.UNIMPLEMENTED, "the request ended without a whole message"))
            return
        self._phase = _Phase.RUNNING
        self._budget.came(self)
        self._stop(self._timer)
        self._at_work(True)
        running = self._running = ensureDeferred(self._run(self._request))
        self._request = None
        if self._phase is _Phase.OVER:  # lost while the handler took its first steps
            running.cancel()

    def drained(self) -> None:
        """Some of what waits has been sent."""
        if self._ready and self._stream.waiting(self._id) <= READY:
            ready, self._ready = self._ready, []
            for waiter in ready:
                waiter.callback(None)

    def sent(self) -> None:
        """The answer is sent to its end."""
        if not self._complete:  # RFC 9113, section 8.1: asks the client to send no more
            self._stream.reset_stream(self._id, ErrorCodes.NO_ERROR)
        self._finish()

    def gone(self) -> None:
        """The stream or its connection is over; nothing can be sent."""
        if self._phase is not _Phase.OVER:
            self._finish()
            self._cancel()

    def fail(self, error: RpcError) -> None:
        """End the call with an error."""
        self._end(error.status, error.message)

    # The phases.

    async def _run(self, request: bytes) -> None:
        try:
            answer = await self._handler(parse_message(self.method.request, request), self)
            if not self.method.streams:
                self.send(answer)
        except RpcError as error:
            self.fail(without_frames(error))
        except Exception as error:  # noqa: BLE001  # the border to code that only the service knows
            if self._phase is _Phase.RUNNING or not isinstance(error, CancelledError):
                self.log.failure("{path} failed", path=self.method.path)
            without_frames(error)  # from Python 3.13 on they lead to Twisted's, which keep the error
            self.fail(RpcError(Status.INTERNAL, "internal error"))
        else:
            self._end(Status.OK, "")

    def _too_late(self, why: str) -> None:
        self.fail(RpcError(Status.DEADLINE_EXCEEDED, why))
        self._cancel()

    def _end(self, status: Status, message: str) -> None:
        if self._phase in {_Phase.ENDING, _Phase.OVER}:
            return
        self._leave(_Phase.ENDING)
        self._stop(self._timer, self._deadline)
        self._timer = self._stream.clock.callLater(self._limits.drain, self._give_up)
        ending = trailers(status, message)
        self._stream.send_end(self._id, ending if self._opened else response_headers() + ending)

    def _give_up(self) -> None:
        self._stream.reset_stream(self._id, ErrorCodes.CANCEL)
        self.gone()

    def _finish(self) -> None:
        self._leave(_Phase.OVER)
        self._stop(self._timer, self._deadline)
        self._timer = self._deadline = None  # those that have come lead back here
        self._over()

    def _leave(self, phase: _Phase) -> None:
        """Be done with the request: nothing of it is held any more."""
        before, self._phase = self._phase, phase
        if before is _Phase.RECEIVING:
            self._request, self._parser = None, MessageParser(0)
            self._budget.came(self)
        elif before is _Phase.RUNNING:
            self._at_work(False)
        self._budget.give(self._held)
        self._held = 0

    def _cancel(self) -> None:
        if self._running is not None:
            self._running.cancel()
        ready, self._ready = self._ready, []
        for waiter in ready:
            waiter.errback(RpcError(Status.CANCELLED, "the call is over"))

    @staticmethod
    def _stop(*timers: IDelayedCall | None) -> None:
        for timer in timers:
            call_off(timer)


Handler = Callable[[Any, Call], Coroutine[Deferred[Any], Any, Any]]
"""``async def (request, call)``: returns the answer, or sends any number of them if its method streams.

`Any`: the request's and answer's types are the method's, which a mapping of handlers cannot say.
"""
