"""One method of a service: its path and the two message types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import DecodeError, Message

from meshtx.rpc.status import RpcError, Status

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)
M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Method(Generic[Q, A]):
    """What client and server agree on. The request is one message.

    :param path: ``/package.Service/Method``.
    :param streams: whether the answer is any number of messages instead of one.
    """

    path: str
    request: type[Q]
    response: type[A]
    streams: bool = False


AnyMethod = Method[Any, Any]
"""A method whose types do not matter: protobuf's messages have no common read interface."""


def parse_message(kind: type[M], data: bytes) -> M:
    """Return the message in these bytes.

    :raises RpcError: they are no such message: `Status.INTERNAL`, as other implementations have it.
    """
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise RpcError(Status.INTERNAL, f"the bytes are no {kind.DESCRIPTOR.full_name}") from error
