"""A passive observer of HTTP/1: reads copies of both directions, reports heads and ends of messages.

Each direction is read as ``head ─▶ body ─▶ head ...``; answers belong to requests in their order.
It ends with `Upgraded` where the connection becomes another protocol (101, or CONNECT with 2xx),
with `GaveUp` where it cannot go on with certainty, and ignores everything after that.

It never delays a byte and never guesses. Heads and framing lines are kept until they are whole,
within named bounds; of bodies nothing is kept. RFC 9112 and RFC 9110.

On a connection that is kept alive, a head is often the one before it, byte for byte: polls, probes,
answers within one second. So the last head of each direction is remembered, and one like it is not
parsed again.
"""

from __future__ import annotations

from meshtx.wire.http1_body import Body, Until, UntilClose, body
from meshtx.wire.http1_head import Fault, Request, Response, parse_request, parse_response
from meshtx.wire.http_events import MAX_HEAD, Event, GaveUp, RequestHead, ResponseEnd, ResponseHead, TooCostly, Upgraded
from meshtx.wire.work import MAX_WORK

MAX_WAITING = 1000
"""Pipelined requests without an answer."""
MAX_UNCLEAR = 2**16
"""Bytes kept behind a request for another protocol, until its answer says what they are."""
MAX_KNOWN = 2048
"""Bytes of a head that is remembered."""

_HEAD = 6
"""Units of `meshtx.wire.work` for a head that is parsed; more for each `_OCTETS` of it."""
_OCTETS = 256
_HEAD_END = b"\r\n\r\n"
_CRLF = b"\r\n"


class Http1Observer:
    """Watches one connection, from its first byte on.

    :ivar detached: true once nothing more will be reported, though the connection goes on.
    :ivar work: units of `meshtx.wire.work` that the last call took.
    """

    __slots__ = (
        "_body_in",
        "_body_out",
        "_head_in",
        "_head_out",
        "_last_answer",
        "_last_request",
        "_requests",
        "_switching",
        "_unclear",
        "_waiting",
        "detached",
        "work",
    )

    def __init__(self) -> None:
        self.detached = False
        self.work = 0
        self._waiting: list[bytes] = []  # the methods of the requests whose answers are not over: one, nearly always
        self._switching = False  # the last request asks for another protocol, and has no answer yet
        self._requests = 0
        self._head_in: Until | None = None  # holds a head that has begun
        self._head_out: Until | None = None
        self._body_in: Body | None = None
        self._body_out: Body | None = None
        self._unclear: bytearray | None = None
        self._last_request: Request | None = None
        self._last_answer: Response | None = None

    @property
    def held(self) -> int:
        """Bytes that are kept of what is not whole, or not clear."""
        heads = sum(len(head.held) for head in (self._head_in, self._head_out) if head)
        bodies = sum(reader.held for reader in (self._body_in, self._body_out) if reader)
        return heads + len(self._unclear or b"") + bodies

    def client_data(self, data: bytes) -> list[Event]:
        """Return what these bytes of the client complete."""
        events: list[Event] = []
        pos, size = 0, len(data)
        self.work = 0
        while pos < size and not self.detached:
            self.work += 1
            if self.work > MAX_WORK:
                self._give_up_work(events)
                break
            if self._unclear is not None:
                self._keep_unclear(self._unclear, data[pos:], events)
                break
            known = self._last_request
            if self._body_in is not None:
                pos = self._read_request_body(self._body_in, data, pos, events)
            elif known is not None and data.startswith(known.head, pos) and self._head_in is None:
                pos += len(known.head)
                self._begin_request(known, events)
            else:
                pos = self._read_request(data, pos, events)
        return events

    def server_data(self, data: bytes) -> list[Event]:
        """Return what these bytes of the server complete."""
        events: list[Event] = []
        pos, size = 0, len(data)
        self.work = 0
        while pos < size and not self.detached:
            self.work += 1
            if self.work > MAX_WORK:
                self._give_up_work(events)
                break
            known = self._last_answer
            if not self._waiting:
                self._give_up("an answer without a request", events)
            elif self._body_out is not None:
                pos = self._read_answer_body(self._body_out, data, pos, events)
            elif known is not None and data.startswith(known.head, pos) and self._head_out is None:
                pos = self._begin_answer(known, data, pos + len(known.head), events)
            else:
                pos = self._read_answer(data, pos, events)
        return events

    def ended(self, orderly: bool) -> list[Event]:
        """Return how the end of the connection ends the answers.

        :param orderly: False: reset or cut; a body that only the end delimits is not whole then.
        """
        if self.detached:
            return []
        whole = orderly and isinstance(self._body_out, UntilClose)
        length = self._body_out.length if self._body_out else 0
        events: list[Event] = []
        for number in range(self._requests - len(self._waiting), self._requests):
            events.append(ResponseEnd(number, length, reset=None if whole else -1))
            whole, length = False, 0
        self._drop()
        return events

    # The client's side

    def _read_request(self, data: bytes, pos: int, events: list[Event]) -> int:
        end = 0 if self._head_in else _behind_head(data, pos)
        if end:
            self._take_request(data[pos:end], events)
            return end
        collector = self._head_in = self._head_in or Until(_HEAD_END, MAX_HEAD)
        head = collector.take(data, pos)
        if head is not None:
            self._head_in = None
            self._take_request(head, events)
        elif collector.overflow:
            self._give_up("the head of a request is too long", events)
        return collector.end

    def _take_request(self, head: bytes, events: list[Event]) -> None:
        head = head.lstrip(_CRLF)  # empty lines before it are no fault: RFC 9112, section 2.2
        if head:
            self._judge_request(head, events)

    def _judge_request(self, head: bytes, events: list[Event]) -> None:
        self.work += _HEAD + len(head) // _OCTETS
        request = parse_request(head)
        if isinstance(request, Fault):
            self._give_up(request.reason, events)
            return
        self._last_request = request if len(head) <= MAX_KNOWN else None
        self._begin_request(request, events)

    def _begin_request(self, request: Request, events: list[Event]) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self._give_up("too many unanswered requests", events)
            return
        events.append(RequestHead(self._requests, request.read))
        self._waiting.append(request.method)
        self._requests += 1
        self._switching = request.switches
        if request.length:
            self._body_in = body(request.length)
        elif request.switches:
            self._request_done()

    def _read_request_body(self, reader: Body, data: bytes, pos: int, events: list[Event]) -> int:
        pos = reader.feed(data, pos)
        self.work += reader.work
        if reader.fault:
            self._give_up(reader.fault, events)
        elif reader.done:
            self._body_in = None
            self._request_done()
        return pos

    def _request_done(self) -> None:
        """Keep what comes next until the answer, if the request asks for another protocol."""
        if self._switching:
            self._unclear = bytearray()

    def _keep_unclear(self, unclear: bytearray, data: bytes, events: list[Event]) -> None:
        if len(unclear) + len(data) > MAX_UNCLEAR:
            self._give_up("too much behind a request for another protocol", events)
        else:
            unclear += data

    # The server's side

    def _read_answer(self, data: bytes, pos: int, events: list[Event]) -> int:
        end = 0 if self._head_out else _behind_head(data, pos)
        if end:
            return self._judge_answer(data[pos:end], data, end, events)
        collector = self._head_out = self._head_out or Until(_HEAD_END, MAX_HEAD)
        head = collector.take(data, pos)
        if head is not None:
            self._head_out = None
            return self._judge_answer(head, data, collector.end, events)
        if collector.overflow:
            self._give_up("the head of an answer is too long", events)
        return collector.end

    def _judge_answer(self, head: bytes, data: bytes, pos: int, events: list[Event]) -> int:
        self.work += _HEAD + len(head) // _OCTETS
        answer = parse_response(head)
        if isinstance(answer, Fault):
            self._give_up(answer.reason, events)
            return pos
        self._last_answer = answer if len(head) <= MAX_KNOWN else None
        return self._begin_answer(answer, data, pos, events)

    def _begin_answer(self, answer: Response, data: bytes, pos: int, events: list[Event]) -> int:
        """Report a head, and the end as well if all of its body is here; return the position behind that."""
        method, status = self._waiting[0], answer.status
        if status < 200 and status != 101:
            return pos
        number = self._requests - len(self._waiting)
        events.append(ResponseHead(number, status, answer.read))
        if status == 101 or (method == b"CONNECT" and status < 300):
            events.append(Upgraded(number))
            self._stop()
            return pos
        length = 0 if method == b"HEAD" else answer.length
        if self._switching:
            self._decline(length, events)
        elif 0 <= length <= len(data) - pos:  # most are whole: their end without a call
            events.append(ResponseEnd(number, length))
            del self._waiting[0]
            return pos + length
        else:
            self._body_out = body(length)
        return pos

    def _decline(self, length: int, events: list[Event]) -> None:
        """Begin an answer while the last request asks for another protocol: if it is the answer to that, it declines.

        What was kept behind the request is HTTP then.
        """
        declined = len(self._waiting) == 1
        if length:
            self._body_out = body(length)
        else:
            self._end_answer(0, events)
        if declined:
            self._switching = False
            unclear, self._unclear = self._unclear, None
            events += self.client_data(bytes(unclear or b""))

    def _read_answer_body(self, reader: Body, data: bytes, pos: int, events: list[Event]) -> int:
        pos = reader.feed(data, pos)
        self.work += reader.work
        if reader.fault:
            self._give_up(reader.fault, events)
        elif reader.done:
            self._body_out = None
            self._end_answer(reader.length, events)
        return pos

    def _end_answer(self, length: int, events: list[Event]) -> None:
        events.append(ResponseEnd(self._requests - len(self._waiting), length))
        del self._waiting[0]

    def _give_up_work(self, events: list[Event]) -> None:
        events.append(TooCostly("too much work for one read"))
        self._stop()

    def _give_up(self, reason: str, events: list[Event]) -> None:
        events.append(GaveUp(reason))
        self._stop()

    def _stop(self) -> None:
        self.detached = True
        self._drop()

    def _drop(self) -> None:
        """Hold nothing any more."""
        self._waiting.clear()
        self._body_in = self._body_out = self._unclear = None
        self._last_request = self._last_answer = None
        self._head_in = self._head_out = None


def _behind_head(data: bytes, pos: int) -> int:
    """Return the position behind the head that begins at `pos`; 0 if it is not all here, or too long."""
    found = data.find(_HEAD_END, pos, pos + MAX_HEAD + len(_HEAD_END))
    return found + len(_HEAD_END) if found >= 0 else 0
