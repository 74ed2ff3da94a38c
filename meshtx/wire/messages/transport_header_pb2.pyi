from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Header(_message.Message):
    __slots__ = ("port", "name", "session_protocol")
    PORT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SESSION_PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    port: int
    name: str
    session_protocol: SessionProtocol
    def __init__(self, port: _Optional[int] = ..., name: _Optional[str] = ..., session_protocol: _Optional[_Union[SessionProtocol, _Mapping[str, object]]] = ...) -> None: ...

class SessionProtocol(_message.Message):
    __slots__ = ("http1", "http2")
    class Http1(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    class Http2(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    HTTP1_FIELD_NUMBER: _ClassVar[int]
    HTTP2_FIELD_NUMBER: _ClassVar[int]
    http1: SessionProtocol.Http1
    http2: SessionProtocol.Http2
    def __init__(self, http1: _Optional[_Union[SessionProtocol.Http1, _Mapping[str, object]]] = ..., http2: _Optional[_Union[SessionProtocol.Http2, _Mapping[str, object]]] = ...) -> None: ...
