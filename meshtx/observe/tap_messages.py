"""Tap's values as messages of ``meshtx.tap.v1``, and back for the filters."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from meshtx.observe.flow import Direction, Flow, FlowEnd, Mtls, Request, tls_label
from meshtx.observe.tap import Answered, Finished, FlowOpened, FlowRefused, Lost, TapEvent
from meshtx.observe.tap_match import BadMatch, Place, TapMatch
from meshtx.pki.name import InvalidName, Name
from meshtx.rpc.messages import tap_pb2

_DIRECTIONS = {Direction.IN: tap_pb2.DIRECTION_IN, Direction.OUT: tap_pb2.DIRECTION_OUT}
_FROM_MESSAGE = {number: direction for direction, number in _DIRECTIONS.items()}


FLOWS = 1024
"""Connections that an encoder remembers."""
MAX_EVENT = 2**20
"""Bytes of an event; a reader ends a tap that sends it 4 MiB (`meshtx.rpc.framing.MAX_MESSAGE`)."""


class Encoder:
    """Events as octets of their message.

    One for each tap: it makes once what is the same in all events of a connection, and an event that another tap has
    been sent already not at all. Octets of parts of a message, one behind the other, are the message
    (https://protobuf.dev/programming-guides/encoding/#last-one-wins).
    """

    def __init__(self) -> None:
        self._flows: dict[int, tuple[Flow, bytes]] = {}

    def encode(self, event: TapEvent | Lost, *, headers: bool) -> bytes:
        """Return the message of an event.

        :param headers: include those of requests and answers.
        :raises Exception: an observer reported what is no value of its kind, is out of its range, or makes the event
            longer than `MAX_EVENT`; which exception depends on what it is.
        """
        if isinstance(event, Lost):
            return tap_pb2.TapEvent(lost=tap_pb2.Lost(count=event.count)).SerializeToString()
        done = event.encoded
        if done is None or done[0] is not headers:
            flow = event.flow
            known = self._flows.get(id(flow))  # to compare the values costs more
            octets = _own_part(event, headers=headers) + (known[1] if known is not None else self._add(flow))
            if len(octets) > MAX_EVENT:
                raise ValueError(f"an event of {len(octets)} bytes")
            done = event.encoded = headers, octets
        return done[1]

    def _add(self, flow: Flow) -> bytes:
        """Return the part that says which connection it is."""
        if len(self._flows) >= FLOWS:
            self._flows.clear()
        octets = tap_pb2.TapEvent(flow=_flow(flow)).SerializeToString()
        self._flows[id(flow)] = flow, octets  # with the value: while it is kept no other one has its id
        return octets


def match_message(match: TapMatch) -> tap_pb2.Match:
    """Return the message of a tap's filters."""
    return tap_pb2.Match(
        methods=sorted(match.methods),
        path_prefix=match.path_prefix,
        authority=match.authority,
        peer="" if match.peer is None else str(match.peer),
        direction=_DIRECTIONS[match.direction] if match.direction else tap_pb2.DIRECTION_UNSPECIFIED,
        sources=map(str, match.sources),
        destinations=map(str, match.destinations),
    )


def match_of(message: tap_pb2.Match) -> TapMatch:
    """Return the filters that a message holds.

    :raises BadMatch: one of them cannot be read.
    """
    if message.direction not in (tap_pb2.DIRECTION_UNSPECIFIED, *_FROM_MESSAGE):
        raise BadMatch(f"direction {message.direction} is neither in nor out")
    return TapMatch(
        methods=frozenset(message.methods),
        path_prefix=message.path_prefix,
        authority=message.authority,
        peer=_peer(message.peer),
        direction=_FROM_MESSAGE.get(message.direction),
        sources=tuple(map(Place.parse, message.sources)),
        destinations=tuple(map(Place.parse, message.destinations)),
    )


def _peer(text: str) -> Name | None:
    try:
        return Name.parse(text) if text else None
    except InvalidName as error:
        raise BadMatch(str(error)) from error


def _own_part(event: TapEvent, *, headers: bool) -> bytes:
    """Return what is the event's own. It runs with every event: fields that are set one by one cost least."""
    message = tap_pb2.TapEvent()
    _set_time(message.time, event.at)
    match event.what:
        case Request() as request:
            _set_request(message.request, request, headers=headers)
        case Answered() as answered:
            _set_response(message.response, answered, headers=headers)
        case Finished() as finished:
            _set_response_end(message.response_end, finished)
        case FlowOpened():
            message.flow_opened.SetInParent()
        case FlowRefused(reason, detail):
            message.flow_ended.MergeFrom(tap_pb2.FlowEnded(error=reason, detail=_text(detail), refused=True))
        case FlowEnd() as end:
            _set_flow_ended(message.flow_ended, end)
    return message.SerializeToString()


def _set_request(message: tap_pb2.Request, request: Request, *, headers: bool) -> None:
    message.id = request.id
    texts = request.protocol, request.method, request.authority, request.path
    if not "".join(texts).isascii():
        texts = _text(texts[0]), _text(texts[1]), _text(texts[2]), _text(texts[3])
    message.protocol, message.method, message.authority, message.path = texts
    if headers:
        message.headers.extend(_headers(request.headers))


def _set_response(message: tap_pb2.Response, answered: Answered, *, headers: bool) -> None:
    response = answered.response
    message.id = response.id
    message.status = response.status
    _set_time(message.latency, answered.latency)
    if headers:
        message.headers.extend(_headers(response.headers))


def _set_response_end(message: tap_pb2.ResponseEnd, finished: Finished) -> None:
    end = finished.end
    message.id = end.id
    _set_time(message.latency, finished.latency)
    _set_time(message.duration, finished.duration)
    message.length = end.length
    if end.grpc_status is not None:
        message.grpc_status = end.grpc_status
    if end.reset is not None:
        message.reset = end.reset


def _set_flow_ended(message: tap_pb2.FlowEnded, end: FlowEnd) -> None:
    _set_time(message.duration, end.duration)
    message.sent = end.sent
    message.received = end.received
    message.error = end.error or ""
    message.detail = _text(end.detail)


def _flow(flow: Flow) -> tap_pb2.Flow:
    return tap_pb2.Flow(
        id=flow.id,
        direction=_DIRECTIONS[flow.direction],
        src=str(flow.src),
        dst=str(flow.dst),
        tls=tls_label(flow.security),
        peer=str(flow.security.peer) if isinstance(flow.security, Mtls) else "",
        known=flow.known.value,
        hidden_by=flow.hidden_by,
    )


def _headers(headers: Iterable[tuple[str, str]]) -> list[tap_pb2.Header]:
    return [tap_pb2.Header(name=_text(name), value=_text(value)) for name, value in headers]


def _text(text: str) -> str:
    """Return text that UTF-8 can carry: lone surrogates stand for bytes that were none."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _set_time(message: Duration | Timestamp, seconds: float) -> None:
    """Set a point in time, or seconds that are not below zero."""
    nanos = round(seconds * 1e9)
    if nanos >= 10**9:
        message.seconds = nanos // 10**9
        nanos %= 10**9
    message.nanos = nanos
