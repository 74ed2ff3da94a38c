"""One call at the client: what comes of it, and when it has come whole."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from meshtx.net.deadline import call_off
from meshtx.rpc.framing import Broken, MessageParser
from meshtx.rpc.method import AnyMethod, parse_message
from meshtx.rpc.status import RpcError, Status, decode_text, from_http

Consumer = Callable[[Any], "Deferred[None] | None"]
"""Takes one message of an answer (`Any`: the method says which). While a Deferred that it returned has not fired
nothing more is read than flow control had already let the server send."""


class Answered(Protocol):
    """What a call needs of its client."""

    def consumed(self, stream_id: int, size: int) -> None:
        """As many bytes of the answer are dealt with."""

    def finished(self, call: ClientCall) -> None:
        """The call has ended. Called once, before its result fires."""


class ClientCall:
    """Collects the answer to one request.

    :param request: the request as it goes on the stream.
    :param limit: bytes that a message of the answer may have.
    """

    def __init__(self, client: Answered, method: AnyMethod, request: bytes, consumer: Consumer, limit: int) -> None:
        self.method = method
        self.request = request
        self.result: Deferred[None] = Deferred(lambda _: self.end(CancelledError()))
        self.stream_id = 0
        """0 while the call waits for its turn."""
        self.refusals = 0
        """Times that the server would not look at it."""
        self.deadline: float | None = None
        self.timer: IDelayedCall | None = None
        self._client = client
        self._consumer = consumer
        self._parser = MessageParser(limit)
        self._messages: deque[bytes] = deque()
        self._unread = 0
        self._consuming = False
        self._head: dict[str, str] = {}
        self._trailers: dict[str, str] | None = None
        self._over = False

    @property
    def begun(self) -> bool:
        """Something of the answer has come."""
        return bool(self._head)

    def receive_head(self, headers: Iterable[tuple[str, str]]) -> None:
        """Take the header block that opens the answer."""
        self._head = dict(headers)

    def receive_trailers(self, headers: Iterable[tuple[str, str]]) -> None:
        """Take the header block behind the messages."""
        self._trailers = dict(headers)

    def receive_data(self, data: bytes, size: int) -> None:
        """Take bytes of the answer.

        :param size: what flow control counts for them.
        """
        self._unread += size
        if error := self._not_grpc():
            self.end(error)
            return
        for item in self._parser.receive_data(data):
            if isinstance(item, Broken):
                self.end(item.error)
                return
            self._messages.append(item)
        self._consume()

    def receive_end(self) -> None:
        """Take the end of the answer: its status is in the trailers, or in the head if nothing else came."""
        if self._trailers is None:
            self._trailers = self._head
        self._consume()

    def end(self, error: BaseException | None) -> None:
        """End the call."""
        if not self._over:
            self._over = True
            self._messages.clear()
            unread, self._unread = self._unread, 0
            self._client.consumed(self.stream_id, unread)
            timer, self.timer = self.timer, None  # one that has come leads back here
            call_off(timer)
            self._client.finished(self)
            if error is None:
                self.result.callback(None)
            else:
                self.result.errback(error)

    def _consume(self) -> None:
        while self._messages and not self._consuming and not self._over:
            self._consume_one(self._messages.popleft())
        if self._consuming or self._over:
            return
        unread, self._unread = self._unread, 0
        self._client.consumed(self.stream_id, unread)
        if self._trailers is not None:
            self.end(self._outcome(self._trailers))

    def _consume_one(self, data: bytes) -> None:
        try:
            later = self._consumer(parse_message(self.method.response, data))
        except Exception as error:  # noqa: BLE001  # the consumer's, handed to whoever awaits the call
            self.end(error)
            return
        if later is not None:
            self._consuming = True
            later.addCallbacks(self._consumed, self._failed)

    def _consumed(self, _: None) -> None:
        self._consuming = False
        self._consume()

    def _failed(self, failure: Failure) -> None:
        self.end(failure.value)

    def _not_grpc(self) -> RpcError | None:
        if (status := self._head.get(":status", "")) != "200":
            return from_http(status)
        kind = self._head.get("content-type", "")
        if not kind.startswith("application/grpc"):
            return RpcError(Status.UNKNOWN, f"the server answered with content type {kind!r}, which is not gRPC")
        return None

    def _outcome(self, trailers: dict[str, str]) -> RpcError | None:
        status = trailers.get("grpc-status")
        if status is None:
            return self._not_grpc() or RpcError(Status.UNKNOWN, "the answer ended without a status")
        if status != "0":
            return RpcError(Status.parse(status), decode_text(trailers.get("grpc-message", "")))
        if self._parser.unfinished:
            return RpcError(Status.INTERNAL, "the answer ended in the middle of a message")
        return None
