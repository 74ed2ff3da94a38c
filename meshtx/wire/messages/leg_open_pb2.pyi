from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Open(_message.Message):
    __slots__ = ("port", "authority", "source_ip", "source_port", "source_known", "protocol")
    PORT_FIELD_NUMBER: _ClassVar[int]
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    SOURCE_IP_FIELD_NUMBER: _ClassVar[int]
    SOURCE_PORT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_KNOWN_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    port: int
    authority: str
    source_ip: bytes
    source_port: int
    source_known: str
    protocol: str
    def __init__(self, port: _Optional[int] = ..., authority: _Optional[str] = ..., source_ip: _Optional[bytes] = ..., source_port: _Optional[int] = ..., source_known: _Optional[str] = ..., protocol: _Optional[str] = ...) -> None: ...
