"""What ``meshtx tap`` prints: one line an event, in the form that Linkerd's users know.

    req id=0:1 proxy=out src=IP:P dst=IP:P tls=true :method=GET :authority=A :path=/
    rsp id=0:1 proxy=out src=IP:P dst=IP:P tls=true :status=200 latency=2150µs
    end id=0:1 proxy=out src=IP:P dst=IP:P tls=true duration=64µs response-length=98B

and for connections in which no requests can be seen

    tcp id=3 proxy=in  src=IP:P dst=IP:P tls=no_tls_from_remote
    end id=3 proxy=in  src=IP:P dst=IP:P tls=no_tls_from_remote duration=9µs sent=5B received=7B
    refused id=4 proxy=out src=IP:P dst=IP:P tls=unknown reason=name_mismatch detail="it proved ..."

``id`` is the connection's number and the request's in it. ``latency`` counts from the request,
``duration`` from the start of the answer, as with Linkerd. All that a stranger wrote is escaped.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from google.protobuf.duration_pb2 import Duration

from meshtx.observe.printable import field, quoted
from meshtx.pki.name import MeshScope
from meshtx.rpc.messages.tap_pb2 import DIRECTION_IN, DIRECTION_OUT, FlowEnded, Header, TapEvent
from meshtx.rpc.status import Status

Record = dict[str, Any]  # what json.dumps takes
"""An event as keys and values, in the order in which they are printed."""

Fields = list[tuple[str, str]]
"""Names and escaped values, in the order in which they are printed."""

_PROXY = {DIRECTION_IN: "in", DIRECTION_OUT: "out"}
_GRPC_NAMES = {
    status.value: "OK" if status is Status.OK else status.name.title().replace("_", "") for status in Status
} | {Status.CANCELLED.value: "Canceled"}
"""As Go's library spells them, and with it Linkerd."""


def text_line(event: TapEvent, *, wide: bool = False, target: str = "", own_mesh: MeshScope | None = None) -> str:
    """Return the line of an event, without its newline; the arguments are those of `line_fields`."""
    word, fields = line_fields(event, wide=wide, target=target, own_mesh=own_mesh)
    return " ".join([word, *[f"{name}={value}" for name, value in fields]])


def line_fields(
    event: TapEvent, *, wide: bool = False, target: str = "", own_mesh: MeshScope | None = None
) -> tuple[str, Fields]:
    """Return the first word of an event's line, and its fields in order; values are escaped.

    :param wide: also the other side's name, how the source is known, and what hides it.
    :param target: which proxy said it, where there are several.
    :param own_mesh: names of this mesh are written short, ``ACCOUNT.NAMESPACE``.
    """
    kind = event.WhichOneof("event") or ""
    if kind == "lost":
        return "lost", _with_values(("count", event.lost.count), ("target", target))
    word, named = _SPECIFIC.get(kind, _unknown)(event)
    if wide:
        flow = event.flow
        peer = own_mesh.shorten(flow.peer) if own_mesh else flow.peer
        named += [("peer", peer), ("known", flow.known), ("hidden_by", flow.hidden_by)]
    return word, _flow_fields(event, kind) + _with_values(*named, ("target", target))


def rfc3339(seconds: float) -> str:
    """Return a point in time, in seconds since 1970, in UTC with milliseconds; ``-`` if no calendar has it."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):  # a proxy may say what it likes
        return "-"


def json_line(event: TapEvent, *, target: str = "") -> str:
    """Return the event as one JSON object; its keys are listed in docs/tap.md."""
    return json.dumps(record(event) | ({"target": target} if target else {}), separators=(",", ":"))


def record(event: TapEvent) -> Record:
    """Return an event's keys and values."""
    kind = event.WhichOneof("event") or ""
    if kind == "lost":
        return {"event": "lost", "count": event.lost.count}
    flow = event.flow
    common: Record = {
        "time": event.time.ToJsonString(),
        "flow": flow.id,
        "proxy": _PROXY.get(flow.direction, "???"),
        "src": flow.src,
        "known": flow.known or None,
        "hidden_by": flow.hidden_by or None,
        "dst": flow.dst,
        "tls": flow.tls,
        "peer": flow.peer or None,
    }
    specific = _RECORDS[kind](event) if kind in _RECORDS else {"event": "???"}
    return {"event": specific.pop("event"), **common, **specific}


def _flow_fields(event: TapEvent, kind: str) -> Fields:
    flow = event.flow
    request = f":{getattr(event, kind).id}" if kind in ("request", "response", "response_end") else ""
    return [
        ("id", f"{flow.id}{request}"),
        ("proxy", _PROXY.get(flow.direction, "???").ljust(3)),
        ("src", field(flow.src)),
        ("dst", field(flow.dst)),
        ("tls", field(flow.tls)),
    ]


_Named = list[tuple[str, object]]


def _with_values(*named: tuple[str, object]) -> Fields:
    """Keep what has a value; what is written for a person is quoted."""
    said = [(name, str(value)) for name, value in named if value != ""]
    return [(name, quoted(text) if name == "detail" else field(text)) for name, text in said]


def _unknown(_event: TapEvent) -> tuple[str, _Named]:
    return "???", []  # a proxy of a later version


def _request(event: TapEvent) -> tuple[str, _Named]:
    request = event.request
    return "req", [(":method", request.method), (":authority", request.authority), (":path", request.path)]


def _response(event: TapEvent) -> tuple[str, _Named]:
    return "rsp", [(":status", event.response.status), ("latency", _micro(event.response.latency))]


def _response_end(event: TapEvent) -> tuple[str, _Named]:
    end = event.response_end
    named: _Named = []
    if end.HasField("reset"):
        named.append(("reset-error", end.reset))
    elif end.HasField("grpc_status"):
        named.append(("grpc-status", _grpc_name(end.grpc_status)))
    return "end", [*named, ("duration", _micro(end.duration)), ("response-length", f"{end.length}B")]


def _flow_ended(event: TapEvent) -> tuple[str, _Named]:
    end = event.flow_ended
    if end.refused:
        return "refused", [("reason", end.error), ("detail", end.detail)]
    moved: _Named = [("duration", _micro(end.duration)), ("sent", f"{end.sent}B"), ("received", f"{end.received}B")]
    return "end", [*moved, ("error", end.error), ("detail", end.detail)]


_SPECIFIC: dict[str, Callable[[TapEvent], tuple[str, _Named]]] = {
    "flow_opened": lambda _: ("tcp", []),
    "flow_ended": _flow_ended,
    "request": _request,
    "response": _response,
    "response_end": _response_end,
}


def _request_record(event: TapEvent) -> Record:
    request = event.request
    return {
        "event": "req",
        "request": request.id,
        "protocol": request.protocol,
        "method": request.method,
        "authority": request.authority,
        "path": request.path,
        "headers": [_pair(header) for header in request.headers],
    }


def _response_record(event: TapEvent) -> Record:
    response = event.response
    return {
        "event": "rsp",
        "request": response.id,
        "status": response.status,
        "latency_us": response.latency.ToMicroseconds(),
        "headers": [_pair(header) for header in response.headers],
    }


def _response_end_record(event: TapEvent) -> Record:
    end = event.response_end
    return {
        "event": "end",
        "request": end.id,
        "latency_us": end.latency.ToMicroseconds(),
        "duration_us": end.duration.ToMicroseconds(),
        "response_length": end.length,
        "grpc_status": _grpc_name(end.grpc_status) if end.HasField("grpc_status") else None,
        "reset_error": end.reset if end.HasField("reset") else None,
    }


def _flow_ended_record(event: TapEvent) -> Record:
    end: FlowEnded = event.flow_ended
    if end.refused:
        return {"event": "refused", "reason": end.error, "detail": end.detail}
    return {
        "event": "tcp_end",
        "duration_us": end.duration.ToMicroseconds(),
        "sent": end.sent,
        "received": end.received,
        "error": end.error or None,
        "detail": end.detail,
    }


_RECORDS: dict[str, Callable[[TapEvent], Record]] = {
    "flow_opened": lambda _: {"event": "tcp"},
    "flow_ended": _flow_ended_record,
    "request": _request_record,
    "response": _response_record,
    "response_end": _response_end_record,
}


def _pair(header: Header) -> list[str]:
    return [header.name, header.value]


def _micro(duration: Duration) -> str:
    return f"{duration.ToMicroseconds()}µs"


def _grpc_name(number: int) -> str:
    return _GRPC_NAMES.get(number, f"Code({number})")
