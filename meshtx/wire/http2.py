"""A passive observer of HTTP/2 with prior knowledge: reads copies of both directions, reports requests.

Behind the client's preface each direction is frames (`http2_frames`), some of which make header
blocks (`http2_headers`). A stream that the client opens is a request, numbered in the order of
opening; it is followed until its answer ends, is reset, or is cut by the end of the connection.
Pushed streams are decoded and not reported. It never delays a byte and never guesses. RFC 9113.
"""

from __future__ import annotations

from functools import partial
from struct import Struct

from meshtx.wire.http2_frames import ACK, Broken, Frame, FrameReader, Kind, Passed
from meshtx.wire.http2_headers import Block, HeaderBlocks
from meshtx.wire.http_events import (
    Event,
    GaveUp,
    Pairs,
    RequestHead,
    RequestText,
    ResponseEnd,
    ResponseHead,
    TooCostly,
    authority_text,
    kept,
    path_text,
    text,
)
from meshtx.wire.sniff import PREFACE
from meshtx.wire.work import MAX_WORK, Work

MAX_STREAMS = 10_000
"""Requests of one connection whose answers are not over."""

_FRAME = 2
"""Units of work for a frame that is read whole, beside that of the reader."""
_MESSAGE = 2
"""For a request, and for the end of an answer."""
_COMPARED = 16
"""Streams that are looked at for a unit."""

REFUSED_STREAM = 7
"""The error code of a request that the server did not process (RFC 9113, section 8.7)."""

_SETTING = Struct("!HL")
_HEADER_TABLE_SIZE = 1
_CODE = Struct("!L")
_GOAWAY = Struct("!LL")


class _Open:
    """A request whose answer is not over."""

    __slots__ = ("answered", "index", "length")

    def __init__(self, index: int) -> None:
        self.index = index
        self.answered = False
        self.length = 0


class Http2Observer:
    """Watches one connection, from its first byte on.

    :ivar detached: true once nothing more will be reported, though the connection goes on.
    :ivar work: units of `meshtx.wire.work` that the last call took.
    """

    def __init__(self) -> None:
        self.detached = False
        self.work = 0
        self._preface = 0
        self._work = Work()
        self._start_reading()
        self._open: dict[int, _Open] = {}
        self._last = 0
        self._count = 0

    @property
    def held(self) -> int:
        """Bytes that are kept."""
        return len(self._client.held) + len(self._server.held) + self._requests.held + self._answers.held

    def client_data(self, data: bytes) -> list[Event]:
        """Return what these bytes of the client complete."""
        events: list[Event] = []
        self._work.renew()
        if not self.detached and self._preface < len(PREFACE):
            data = self._read_preface(data, events)
        if self.detached:
            return events
        for item in self._client.receive_data(data):
            if isinstance(item, Frame):
                self._client_frame(item, events)
            elif isinstance(item, Broken):
                self._give_up(item, events)
            if self.detached:
                break
        self.work = MAX_WORK - self._work.left
        return events

    def _start_reading(self) -> None:
        self._client, self._server = FrameReader(self._work), FrameReader(self._work)
        self._requests, self._answers = HeaderBlocks(self._work), HeaderBlocks(self._work)

    def server_data(self, data: bytes) -> list[Event]:
        """Return what these bytes of the server complete."""
        events: list[Event] = []
        self._work.renew()
        if self.detached:
            return events
        for item in self._server.receive_data(data):
            if isinstance(item, Passed):
                self._passed(item, events)
            elif isinstance(item, Frame):
                self._server_frame(item, events)
            else:
                self._give_up(item, events)
            if self.detached:
                break
        self.work = MAX_WORK - self._work.left
        return events

    def ended(self, orderly: bool) -> list[Event]:  # noqa: ARG002  # the same for both: HTTP/2 delimits its messages
        """Return the answers that the end of the connection cuts, in the order of their requests."""
        events: list[Event] = [ResponseEnd(cut.index, cut.length, reset=-1) for cut in self._open.values()]
        self._drop()
        return events

    def _read_preface(self, data: bytes, events: list[Event]) -> bytes:
        """Return what is behind the preface."""
        expected = PREFACE[self._preface : self._preface + len(data)]
        if not data.startswith(expected):
            self._give_up(Broken("no HTTP/2 preface"), events)
        self._preface += len(expected)
        return data[len(expected) :]

    # Frames

    def _client_frame(self, frame: Frame, events: list[Event]) -> None:
        self._work.left -= _FRAME
        if frame.kind == Kind.PUSH_PROMISE:
            self._give_up(Broken("a client promised a push"), events)
            return
        block = self._requests.receive(frame)
        if isinstance(block, Broken):
            self._give_up(block, events)
        elif block is not None:
            self._request(block, events)
        else:
            self._either_frame(frame, self._requests, self._answers, events)

    def _server_frame(self, frame: Frame, events: list[Event]) -> None:
        self._work.left -= _FRAME
        block = self._answers.receive(frame)
        if isinstance(block, Broken):
            self._give_up(block, events)
        elif block is not None:
            self._answer(block, events)
        elif frame.kind == Kind.GOAWAY:
            self._goaway(frame.payload, events)
        else:
            self._either_frame(frame, self._answers, self._requests, events)

    def _either_frame(self, frame: Frame, own: HeaderBlocks, others: HeaderBlocks, events: list[Event]) -> None:
        if frame.kind == Kind.RST_STREAM:
            self._reset(frame, events)
        elif frame.kind == Kind.SETTINGS and frame.flags & ACK:
            own.acknowledge()
        elif frame.kind == Kind.SETTINGS:
            self._settings(frame, others, events)

    def _settings(self, frame: Frame, others: HeaderBlocks, events: list[Event]) -> None:
        """What one side decodes with is the other side's to obey."""
        if frame.stream or len(frame.payload) % _SETTING.size:
            self._give_up(Broken("malformed SETTINGS"), events)
            return
        size = None
        for name, value in _SETTING.iter_unpack(frame.payload):
            size = value if name == _HEADER_TABLE_SIZE else size
        if broken := others.offer(size):
            self._give_up(broken, events)

    def _reset(self, frame: Frame, events: list[Event]) -> None:
        if len(frame.payload) != _CODE.size:
            self._give_up(Broken("malformed RST_STREAM"), events)
            return
        self._end(frame.stream, events, reset=_CODE.unpack(frame.payload)[0])

    def _goaway(self, payload: bytes, events: list[Event]) -> None:
        """Requests above the last stream are not processed (RFC 9113, section 6.8)."""
        if len(payload) < _GOAWAY.size:
            self._give_up(Broken("malformed GOAWAY"), events)
            return
        last = _GOAWAY.unpack_from(payload)[0] & 2**31 - 1
        self._work.left -= len(self._open) // _COMPARED
        for stream in [stream for stream in self._open if stream > last]:
            self._end(stream, events, reset=REFUSED_STREAM)

    # Messages

    def _request(self, block: Block, events: list[Event]) -> None:
        if block.stream % 2 == 0:
            self._give_up(Broken("a client opened a stream of the server's"), events)
            return
        if block.stream <= self._last:  # trailers, or a stream that is over
            return
        if len(self._open) >= MAX_STREAMS:
            self._give_up(Broken("too many unanswered requests"), events)
            return
        self._work.left -= _MESSAGE
        self._last = block.stream
        self._open[block.stream] = _Open(self._count)
        events.append(RequestHead(self._count, partial(_request_text, block.fields)))
        self._count += 1

    def _answer(self, block: Block, events: list[Event]) -> None:
        request = self._open.get(block.stream)
        if request is None or block.promised:
            return
        fields = dict(block.fields)
        if not request.answered:
            status = fields.get(b":status", b"")
            if len(status) != 3 or not status.isdigit():
                self._give_up(Broken("an answer without a status"), events)
                return
            if status.startswith(b"1") and not block.end:
                return
            request.answered = True
            events.append(ResponseHead(request.index, int(status), partial(kept, block.fields)))
        if block.end:
            self._end(block.stream, events, grpc_status=_grpc_status(fields.get(b"grpc-status", b"")))

    def _passed(self, part: Passed, events: list[Event]) -> None:
        request = self._open.get(part.stream)
        if request is None:
            return
        request.length += part.size
        if part.end:
            self._end(part.stream, events)

    def _end(self, stream: int, events: list[Event], grpc_status: int | None = None, reset: int | None = None) -> None:
        request = self._open.pop(stream, None)
        if request is not None:
            self._work.left -= _MESSAGE
            events.append(ResponseEnd(request.index, request.length, grpc_status, reset))

    def _give_up(self, why: Broken, events: list[Event]) -> None:
        events.append(TooCostly(why.reason) if why.costly else GaveUp(why.reason))
        self._stop()

    def _stop(self) -> None:
        self.detached = True
        self._drop()

    def _drop(self) -> None:
        """Hold nothing any more."""
        self._open.clear()
        self._start_reading()


def _request_text(pairs: Pairs) -> RequestText:
    fields = dict(pairs)
    authority = fields.get(b":authority") or fields.get(b"host", b"")
    return RequestText(
        text(fields.get(b":method", b"")),
        authority_text(authority),
        path_text(fields.get(b":path", b"")),
        kept(pairs),
    )


def _grpc_status(value: bytes) -> int | None:
    return int(value) if value.isdigit() and len(value) <= 3 else None
