"""What a call ends with: gRPC's status codes and the error that carries one.

https://github.com/grpc/grpc/blob/master/doc/statuscodes.md, and the two tables of
``http-grpc-status-mapping.md`` and ``PROTOCOL-HTTP2.md`` for peers that answer in HTTP's terms.
"""

from __future__ import annotations

import re
from enum import IntEnum
from http import HTTPStatus
from urllib.parse import unquote_to_bytes

from h2.errors import ErrorCodes

from meshtx.errors import PeerError

MAX_MESSAGE_TEXT = 500
"""Characters of an error's text that go on the wire: it shares one header block with the status."""

_RESERVED = re.compile(rb"[^ -$&-~]")


class Status(IntEnum):
    """The codes, by their numbers on the wire."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16

    @classmethod
    def parse(cls, text: str) -> Status:
        """Return the code that a ``grpc-status`` header names; what is no known code is `UNKNOWN`."""
        try:
            return cls(int(text))
        except ValueError:
            return cls.UNKNOWN


class RpcError(PeerError):
    """A call that did not succeed. A handler raises it to choose what its caller gets.

    :param status: any code but `Status.OK`.
    :param message: for a person; it goes to the peer.
    """

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(f"{status.name}: {message}")
        self.status = status
        self.message = message


_FROM_HTTP = {
    HTTPStatus.BAD_REQUEST: Status.INTERNAL,
    HTTPStatus.UNAUTHORIZED: Status.UNAUTHENTICATED,
    HTTPStatus.FORBIDDEN: Status.PERMISSION_DENIED,
    HTTPStatus.NOT_FOUND: Status.UNIMPLEMENTED,
    HTTPStatus.TOO_MANY_REQUESTS: Status.UNAVAILABLE,
    HTTPStatus.BAD_GATEWAY: Status.UNAVAILABLE,
    HTTPStatus.SERVICE_UNAVAILABLE: Status.UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT: Status.UNAVAILABLE,
}

_FROM_RESET = {
    ErrorCodes.REFUSED_STREAM: Status.UNAVAILABLE,
    ErrorCodes.CANCEL: Status.CANCELLED,
    ErrorCodes.ENHANCE_YOUR_CALM: Status.RESOURCE_EXHAUSTED,
    ErrorCodes.INADEQUATE_SECURITY: Status.PERMISSION_DENIED,
}


def from_http(status: str) -> RpcError:
    """Return the error for an answer that is not HTTP's 200 and names no status of gRPC."""
    code = int(status) if status.isascii() and status.isdigit() and len(status) == 3 else 0
    return RpcError(_FROM_HTTP.get(code, Status.UNKNOWN), f"the server answered with HTTP status {status[:16]}")  # type: ignore[call-overload]  # an int is a key too


def from_reset(code: int) -> RpcError:
    """Return the error for a stream that the peer reset with this HTTP/2 error code."""
    names = {member.value: member.name for member in ErrorCodes}
    text = f"the server reset the stream: {names.get(code, code)}"
    return RpcError(_FROM_RESET.get(code, Status.INTERNAL), text)  # type: ignore[call-overload]  # an int is a key too


def encode_text(message: str) -> str:
    """Return a ``grpc-message`` value: percent-encoded UTF-8, cut to `MAX_MESSAGE_TEXT` characters."""
    data = message[:MAX_MESSAGE_TEXT].encode("utf-8", "replace")
    return _RESERVED.sub(lambda match: b"%%%02X" % match[0][0], data).decode("ascii")


def decode_text(value: str) -> str:
    """Return the text of a ``grpc-message`` value; what is not UTF-8 is replaced, never an error."""
    return unquote_to_bytes(value).decode("utf-8", "replace")
