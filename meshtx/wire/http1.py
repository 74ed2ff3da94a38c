"""A passive observer of HTTP/1: reads copies of both directions, reports heads and ends of messages.

Each direction is read as ``head ─▶ body ─▶ head ...``; answers belong to requests in their order.
It ends with `Upgraded` where the connection becomes another protocol (101, or CONNECT with 2xx),
with `GaveUp` where it cannot go on with certainty, and ignores everything after that.

It never delays a byte and never guesses. Heads and framing lines are kept until they are whole,
within named bounds; of bodies nothing is kept. RFC 9112 and RFC 9110.
"""

from __future__ import annotations

from collections import deque

from meshtx.wire.http1_body import Body, Until, UntilClose
from meshtx.wire.http1_head import Fault, parse_request, parse_response
from meshtx.wire.http_events import MAX_HEAD, Event, GaveUp, ResponseEnd, Upgraded

MAX_WAITING = 1000
"""Pipelined requests without an answer."""
MAX_UNCLEAR = 2**16
"""Bytes kept behind a request for another protocol, until its answer says what they are."""

_HEAD_END = b"\r\n\r\n"
_CRLF = b"\r\n"


class _Waiting:
    """A request whose answer is not over."""

    __slots__ = ("answered", "index", "method", "switches")

    def __init__(self, index: int, method: str, switches: bool) -> None:
        self.index = index
        self.method = method
        self.switches = switches
        self.answered = False


class Http1Observer:
    """Watches one connection, from its first byte on.

    :ivar gave_up: true after `GaveUp`.
    :ivar stopped: true once nothing more will be reported, though the connection goes on.
    """

    def __init__(self) -> None:
        self.gave_up = False
        self.stopped = False
        self._waiting: deque[_Waiting] = deque()
        self._requests = 0
        self._head_in = Until(_HEAD_END, MAX_HEAD)
        self._head_out = Until(_HEAD_END, MAX_HEAD)
        self._body_in: Body | None = None
        self._body_out: Body | None = None
        self._unclear: bytearray | None = None

    @property
    def held(self) -> int:
        """Bytes that are kept."""
        bodies = sum(body.held for body in (self._body_in, self._body_out) if body)
        return len(self._head_in.held) + len(self._head_out.held) + len(self._unclear or b"") + bodies

    def client_data(self, data: bytes) -> list[Event]:
        """Return what these bytes of the client complete."""
        events: list[Event] = []
        self._read_client(data, events)
        return events

    def server_data(self, data: bytes) -> list[Event]:
        """Return what these bytes of the server complete."""
        events: list[Event] = []
        pos = 0
        while pos < len(data) and not self.stopped:
            if not self._waiting:
                self._give_up("an answer without a request", events)
            elif self._body_out is None:
                pos = self._read_answer(data, pos, events)
            else:
                pos = self._read_answer_body(self._body_out, data, pos, events)
        return events

    def ended(self, orderly: bool) -> list[Event]:
        """Return how the end of the connection ends the answers.

        :param orderly: False: reset or cut; a body that only the end delimits is not whole then.
        """
        if self.stopped:
            return []
        whole = orderly and isinstance(self._body_out, UntilClose)
        length = self._body_out.length if self._body_out else 0
        events: list[Event] = []
        for request in self._waiting:
            events.append(ResponseEnd(request.index, length, reset=None if whole else -1))
            whole, length = False, 0
        self._drop()
        return events

    # The client's side

    def _read_client(self, data: bytes, events: list[Event]) -> None:
        pos = 0
        while pos < len(data) and not self.stopped:
            if self._unclear is not None:
                self._keep_unclear(self._unclear, data[pos:], events)
                return
            if self._body_in is None:
                pos = self._read_request(data, pos, events)
            else:
                pos = self._read_request_body(self._body_in, data, pos, events)

    def _read_request(self, data: bytes, pos: int, events: list[Event]) -> int:
        pos = self._head_in.feed(data, pos)
        if self._head_in.found is not None:
            head = self._head_in.take().lstrip(_CRLF)  # empty lines before it are no fault: RFC 9112, section 2.2
            if head:
                self._begin_request(head, events)
        elif self._head_in.overflow:
            self._give_up("the head of a request is too long", events)
        return pos

    def _begin_request(self, head: bytes, events: list[Event]) -> None:
        request = parse_request(head, self._requests)
        if isinstance(request, Fault):
            self._give_up(request.reason, events)
            return
        if len(self._waiting) >= MAX_WAITING:
            self._give_up("too many unanswered requests", events)
            return
        events.append(request.head)
        self._waiting.append(_Waiting(self._requests, request.head.method, request.switches))
        self._requests += 1
        self._body_in = request.body
        if request.body is None:
            self._request_done()

    def _read_request_body(self, body: Body, data: bytes, pos: int, events: list[Event]) -> int:
        pos = body.feed(data, pos)
        if body.fault:
            self._give_up(body.fault, events)
        elif body.done:
            self._body_in = None
            self._request_done()
        return pos

    def _request_done(self) -> None:
        """Keep what comes next until the answer, if the request asks for another protocol."""
        if self._waiting and self._waiting[-1].switches and not self._waiting[-1].answered:
            self._unclear = bytearray()

    def _keep_unclear(self, unclear: bytearray, data: bytes, events: list[Event]) -> None:
        if len(unclear) + len(data) > MAX_UNCLEAR:
            self._give_up("too much behind a request for another protocol", events)
        else:
            unclear += data

    # The server's side

    def _read_answer(self, data: bytes, pos: int, events: list[Event]) -> int:
        pos = self._head_out.feed(data, pos)
        if self._head_out.found is not None:
            self._begin_answer(self._waiting[0], self._head_out.take(), events)
        elif self._head_out.overflow:
            self._give_up("the head of an answer is too long", events)
        return pos

    def _begin_answer(self, request: _Waiting, head: bytes, events: list[Event]) -> None:
        answer = parse_response(head, request.index, request.method)
        if isinstance(answer, Fault):
            self._give_up(answer.reason, events)
            return
        status = answer.head.status
        if status < 200 and status != 101:
            return
        events.append(answer.head)
        if status == 101 or (request.method == "CONNECT" and status < 300):
            events.append(Upgraded(request.index))
            self._stop()
            return
        request.answered = True
        self._body_out = answer.body
        if self._body_out is None:
            self._end_answer(0, events)
        self._clear_up(request, events)

    def _read_answer_body(self, body: Body, data: bytes, pos: int, events: list[Event]) -> int:
        pos = body.feed(data, pos)
        if body.fault:
            self._give_up(body.fault, events)
        elif body.done:
            self._body_out = None
            self._end_answer(body.length, events)
        return pos

    def _end_answer(self, length: int, events: list[Event]) -> None:
        events.append(ResponseEnd(self._waiting.popleft().index, length))

    def _clear_up(self, request: _Waiting, events: list[Event]) -> None:
        """The request for another protocol was declined: what was kept behind it is HTTP."""
        if request.switches and self._unclear is not None:
            data, self._unclear = bytes(self._unclear), None
            self._read_client(data, events)

    def _give_up(self, reason: str, events: list[Event]) -> None:
        self.gave_up = True
        events.append(GaveUp(reason))
        self._stop()

    def _stop(self) -> None:
        self.stopped = True
        self._drop()

    def _drop(self) -> None:
        """Hold nothing any more."""
        self._waiting.clear()
        self._body_in = self._body_out = self._unclear = None
        self._head_in.held.clear()
        self._head_out.held.clear()
