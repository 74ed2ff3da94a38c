from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Endpoint(_message.Message):
    __slots__ = ("ip", "port")
    IP_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    ip: bytes
    port: int
    def __init__(self, ip: _Optional[bytes] = ..., port: _Optional[int] = ...) -> None: ...

class Network(_message.Message):
    __slots__ = ("ip", "prefix")
    IP_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    ip: bytes
    prefix: int
    def __init__(self, ip: _Optional[bytes] = ..., prefix: _Optional[int] = ...) -> None: ...

class Ports(_message.Message):
    __slots__ = ("first", "last")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    first: int
    last: int
    def __init__(self, first: _Optional[int] = ..., last: _Optional[int] = ...) -> None: ...

class HiddenPort(_message.Message):
    __slots__ = ("port", "service")
    PORT_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    port: int
    service: str
    def __init__(self, port: _Optional[int] = ..., service: _Optional[str] = ...) -> None: ...

class FollowRequest(_message.Message):
    __slots__ = ("own_ips", "known")
    OWN_IPS_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    own_ips: _containers.RepeatedScalarFieldContainer[bytes]
    known: _containers.RepeatedCompositeFieldContainer[Endpoint]
    def __init__(self, own_ips: _Optional[_Iterable[bytes]] = ..., known: _Optional[_Iterable[_Union[Endpoint, _Mapping[str, object]]]] = ...) -> None: ...

class Update(_message.Message):
    __slots__ = ("table", "answer")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    table: Table
    answer: Answer
    def __init__(self, table: _Optional[_Union[Table, _Mapping[str, object]]] = ..., answer: _Optional[_Union[Answer, _Mapping[str, object]]] = ...) -> None: ...

class Table(_message.Message):
    __slots__ = ("session", "mesh_networks", "nodes", "pods", "balancers", "own_opaque", "own_skip_inbound", "own_hidden")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    MESH_NETWORKS_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    PODS_FIELD_NUMBER: _ClassVar[int]
    BALANCERS_FIELD_NUMBER: _ClassVar[int]
    OWN_OPAQUE_FIELD_NUMBER: _ClassVar[int]
    OWN_SKIP_INBOUND_FIELD_NUMBER: _ClassVar[int]
    OWN_HIDDEN_FIELD_NUMBER: _ClassVar[int]
    session: str
    mesh_networks: _containers.RepeatedCompositeFieldContainer[Network]
    nodes: _containers.RepeatedCompositeFieldContainer[Network]
    pods: _containers.RepeatedCompositeFieldContainer[Network]
    balancers: _containers.RepeatedCompositeFieldContainer[Network]
    own_opaque: _containers.RepeatedCompositeFieldContainer[Ports]
    own_skip_inbound: _containers.RepeatedCompositeFieldContainer[Ports]
    own_hidden: _containers.RepeatedCompositeFieldContainer[HiddenPort]
    def __init__(self, session: _Optional[str] = ..., mesh_networks: _Optional[_Iterable[_Union[Network, _Mapping[str, object]]]] = ..., nodes: _Optional[_Iterable[_Union[Network, _Mapping[str, object]]]] = ..., pods: _Optional[_Iterable[_Union[Network, _Mapping[str, object]]]] = ..., balancers: _Optional[_Iterable[_Union[Network, _Mapping[str, object]]]] = ..., own_opaque: _Optional[_Iterable[_Union[Ports, _Mapping[str, object]]]] = ..., own_skip_inbound: _Optional[_Iterable[_Union[Ports, _Mapping[str, object]]]] = ..., own_hidden: _Optional[_Iterable[_Union[HiddenPort, _Mapping[str, object]]]] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("address", "authority", "workload", "service")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    address: Endpoint
    authority: str
    workload: Backend
    service: Service
    def __init__(self, address: _Optional[_Union[Endpoint, _Mapping[str, object]]] = ..., authority: _Optional[str] = ..., workload: _Optional[_Union[Backend, _Mapping[str, object]]] = ..., service: _Optional[_Union[Service, _Mapping[str, object]]] = ...) -> None: ...

class Service(_message.Message):
    __slots__ = ("ready",)
    READY_FIELD_NUMBER: _ClassVar[int]
    ready: _containers.RepeatedCompositeFieldContainer[Backend]
    def __init__(self, ready: _Optional[_Iterable[_Union[Backend, _Mapping[str, object]]]] = ...) -> None: ...

class Backend(_message.Message):
    __slots__ = ("address", "name", "inbound_port", "opaque", "skipped")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    INBOUND_PORT_FIELD_NUMBER: _ClassVar[int]
    OPAQUE_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    address: Endpoint
    name: str
    inbound_port: int
    opaque: bool
    skipped: bool
    def __init__(self, address: _Optional[_Union[Endpoint, _Mapping[str, object]]] = ..., name: _Optional[str] = ..., inbound_port: _Optional[int] = ..., opaque: _Optional[bool] = ..., skipped: _Optional[bool] = ...) -> None: ...

class ForgetRequest(_message.Message):
    __slots__ = ("session", "addresses")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    session: str
    addresses: _containers.RepeatedCompositeFieldContainer[Endpoint]
    def __init__(self, session: _Optional[str] = ..., addresses: _Optional[_Iterable[_Union[Endpoint, _Mapping[str, object]]]] = ...) -> None: ...

class Forgotten(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class FindRequest(_message.Message):
    __slots__ = ("session", "address")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    session: str
    address: Endpoint
    def __init__(self, session: _Optional[str] = ..., address: _Optional[_Union[Endpoint, _Mapping[str, object]]] = ...) -> None: ...
