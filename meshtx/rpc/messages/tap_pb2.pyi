import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Direction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DIRECTION_UNSPECIFIED: _ClassVar[Direction]
    DIRECTION_IN: _ClassVar[Direction]
    DIRECTION_OUT: _ClassVar[Direction]
DIRECTION_UNSPECIFIED: Direction
DIRECTION_IN: Direction
DIRECTION_OUT: Direction

class ObserveRequest(_message.Message):
    __slots__ = ("match", "headers")
    MATCH_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    match: Match
    headers: bool
    def __init__(self, match: _Optional[_Union[Match, _Mapping[str, object]]] = ..., headers: _Optional[bool] = ...) -> None: ...

class Match(_message.Message):
    __slots__ = ("methods", "path_prefix", "authority", "peer", "direction", "destinations", "sources")
    METHODS_FIELD_NUMBER: _ClassVar[int]
    PATH_PREFIX_FIELD_NUMBER: _ClassVar[int]
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    DESTINATIONS_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    methods: _containers.RepeatedScalarFieldContainer[str]
    path_prefix: str
    authority: str
    peer: str
    direction: Direction
    destinations: _containers.RepeatedScalarFieldContainer[str]
    sources: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, methods: _Optional[_Iterable[str]] = ..., path_prefix: _Optional[str] = ..., authority: _Optional[str] = ..., peer: _Optional[str] = ..., direction: _Optional[_Union[Direction, str]] = ..., destinations: _Optional[_Iterable[str]] = ..., sources: _Optional[_Iterable[str]] = ...) -> None: ...

class TapEvent(_message.Message):
    __slots__ = ("time", "flow", "flow_opened", "flow_ended", "request", "response", "response_end", "lost")
    TIME_FIELD_NUMBER: _ClassVar[int]
    FLOW_FIELD_NUMBER: _ClassVar[int]
    FLOW_OPENED_FIELD_NUMBER: _ClassVar[int]
    FLOW_ENDED_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_END_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    flow: Flow
    flow_opened: FlowOpened
    flow_ended: FlowEnded
    request: Request
    response: Response
    response_end: ResponseEnd
    lost: Lost
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping[str, object]]] = ..., flow: _Optional[_Union[Flow, _Mapping[str, object]]] = ..., flow_opened: _Optional[_Union[FlowOpened, _Mapping[str, object]]] = ..., flow_ended: _Optional[_Union[FlowEnded, _Mapping[str, object]]] = ..., request: _Optional[_Union[Request, _Mapping[str, object]]] = ..., response: _Optional[_Union[Response, _Mapping[str, object]]] = ..., response_end: _Optional[_Union[ResponseEnd, _Mapping[str, object]]] = ..., lost: _Optional[_Union[Lost, _Mapping[str, object]]] = ...) -> None: ...

class Flow(_message.Message):
    __slots__ = ("id", "direction", "src", "dst", "tls", "peer", "known", "hidden_by")
    ID_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    SRC_FIELD_NUMBER: _ClassVar[int]
    DST_FIELD_NUMBER: _ClassVar[int]
    TLS_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_BY_FIELD_NUMBER: _ClassVar[int]
    id: int
    direction: Direction
    src: str
    dst: str
    tls: str
    peer: str
    known: str
    hidden_by: str
    def __init__(self, id: _Optional[int] = ..., direction: _Optional[_Union[Direction, str]] = ..., src: _Optional[str] = ..., dst: _Optional[str] = ..., tls: _Optional[str] = ..., peer: _Optional[str] = ..., known: _Optional[str] = ..., hidden_by: _Optional[str] = ...) -> None: ...

class FlowOpened(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class FlowEnded(_message.Message):
    __slots__ = ("duration", "sent", "received", "error", "detail", "refused")
    DURATION_FIELD_NUMBER: _ClassVar[int]
    SENT_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    duration: _duration_pb2.Duration
    sent: int
    received: int
    error: str
    detail: str
    refused: bool
    def __init__(self, duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping[str, object]]] = ..., sent: _Optional[int] = ..., received: _Optional[int] = ..., error: _Optional[str] = ..., detail: _Optional[str] = ..., refused: _Optional[bool] = ...) -> None: ...

class Header(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class Request(_message.Message):
    __slots__ = ("id", "protocol", "method", "authority", "path", "headers")
    ID_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    id: int
    protocol: str
    method: str
    authority: str
    path: str
    headers: _containers.RepeatedCompositeFieldContainer[Header]
    def __init__(self, id: _Optional[int] = ..., protocol: _Optional[str] = ..., method: _Optional[str] = ..., authority: _Optional[str] = ..., path: _Optional[str] = ..., headers: _Optional[_Iterable[_Union[Header, _Mapping[str, object]]]] = ...) -> None: ...

class Response(_message.Message):
    __slots__ = ("id", "status", "latency", "headers")
    ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    id: int
    status: int
    latency: _duration_pb2.Duration
    headers: _containers.RepeatedCompositeFieldContainer[Header]
    def __init__(self, id: _Optional[int] = ..., status: _Optional[int] = ..., latency: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping[str, object]]] = ..., headers: _Optional[_Iterable[_Union[Header, _Mapping[str, object]]]] = ...) -> None: ...

class ResponseEnd(_message.Message):
    __slots__ = ("id", "latency", "duration", "length", "grpc_status", "reset")
    ID_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    GRPC_STATUS_FIELD_NUMBER: _ClassVar[int]
    RESET_FIELD_NUMBER: _ClassVar[int]
    id: int
    latency: _duration_pb2.Duration
    duration: _duration_pb2.Duration
    length: int
    grpc_status: int
    reset: int
    def __init__(self, id: _Optional[int] = ..., latency: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping[str, object]]] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping[str, object]]] = ..., length: _Optional[int] = ..., grpc_status: _Optional[int] = ..., reset: _Optional[int] = ...) -> None: ...

class Lost(_message.Message):
    __slots__ = ("count",)
    COUNT_FIELD_NUMBER: _ClassVar[int]
    count: int
    def __init__(self, count: _Optional[int] = ...) -> None: ...
