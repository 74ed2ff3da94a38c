"""Tap's values as messages of ``meshtx.tap.v1``, and back for the filters."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from meshtx.observe.flow import Direction, Flow, FlowEnd, Mtls, Request, tls_label
from meshtx.observe.tap import Answered, Finished, FlowOpened, FlowRefused, Lost, TapEvent, What
from meshtx.observe.tap_match import BadMatch, Place, TapMatch
from meshtx.pki.name import InvalidName, Name
from meshtx.rpc.messages import tap_pb2

_DIRECTIONS = {Direction.IN: tap_pb2.DIRECTION_IN, Direction.OUT: tap_pb2.DIRECTION_OUT}
_FROM_MESSAGE = {number: direction for direction, number in _DIRECTIONS.items()}


def event_message(event: TapEvent | Lost, *, headers: bool) -> tap_pb2.TapEvent:
    """Return the message of an event.

    :param headers: include those of requests and answers.
    """
    if isinstance(event, Lost):
        return tap_pb2.TapEvent(lost=tap_pb2.Lost(count=event.count))
    message = _what_message(event.what, headers=headers)
    message.time.CopyFrom(_timestamp(event.at))
    message.flow.CopyFrom(_flow(event.flow))
    return message


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


def _what_message(what: What, *, headers: bool) -> tap_pb2.TapEvent:
    match what:
        case Request():
            return tap_pb2.TapEvent(request=_request(what, headers=headers))
        case Answered():
            return tap_pb2.TapEvent(response=_response(what, headers=headers))
        case Finished():
            return tap_pb2.TapEvent(response_end=_response_end(what))
        case FlowOpened():
            return tap_pb2.TapEvent(flow_opened=tap_pb2.FlowOpened())
        case FlowRefused(reason, detail):
            return tap_pb2.TapEvent(flow_ended=tap_pb2.FlowEnded(error=reason, detail=_text(detail), refused=True))
        case FlowEnd():
            return tap_pb2.TapEvent(flow_ended=_flow_ended(what))


def _request(request: Request, *, headers: bool) -> tap_pb2.Request:
    return tap_pb2.Request(
        id=request.id,
        protocol=_text(request.protocol),
        method=_text(request.method),
        authority=_text(request.authority),
        path=_text(request.path),
        headers=_headers(request.headers) if headers else (),
    )


def _response(answered: Answered, *, headers: bool) -> tap_pb2.Response:
    response = answered.response
    return tap_pb2.Response(
        id=response.id,
        status=response.status,
        latency=_duration(answered.latency),
        headers=_headers(response.headers) if headers else (),
    )


def _response_end(finished: Finished) -> tap_pb2.ResponseEnd:
    end = finished.end
    return tap_pb2.ResponseEnd(
        id=end.id,
        latency=_duration(finished.latency),
        duration=_duration(finished.duration),
        length=end.length,
        grpc_status=end.grpc_status,
        reset=end.reset,
    )


def _flow_ended(end: FlowEnd) -> tap_pb2.FlowEnded:
    return tap_pb2.FlowEnded(
        duration=_duration(end.duration),
        sent=end.sent,
        received=end.received,
        error=end.error or "",
        detail=_text(end.detail),
    )


def _flow(flow: Flow) -> tap_pb2.Flow:
    return tap_pb2.Flow(
        id=flow.id,
        direction=_DIRECTIONS[flow.direction],
        src=str(flow.src),
        dst=str(flow.dst),
        tls=tls_label(flow.security),
        peer=str(flow.security.peer) if isinstance(flow.security, Mtls) else "",
        known=flow.known.value,
    )


def _headers(headers: Iterable[tuple[str, str]]) -> list[tap_pb2.Header]:
    return [tap_pb2.Header(name=_text(name), value=_text(value)) for name, value in headers]


def _text(text: str) -> str:
    """Return text that UTF-8 can carry: lone surrogates stand for bytes that were none."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _timestamp(seconds: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromNanoseconds(round(seconds * 1e9))
    return stamp


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration
