"""What a connection and a request look like to whoever watches: tap, metrics, the log.

Every proxied connection is one `Flow`, every request that an observer saw in it one `Request`.
All values here are frozen; a later state of the same flow is a new value with the same `id`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from meshtx.pki.name import Name
from meshtx.wire.address import Address
from meshtx.wire.http_events import GaveUp, RequestHead, ResponseEnd, ResponseHead, Upgraded

__all__ = [
    "Direction",
    "Flow",
    "FlowEnd",
    "Known",
    "Mtls",
    "NoTls",
    "NoTlsReason",
    "Refusal",
    "Request",
    "Response",
    "ResponseEnd",
    "Security",
    "Seen",
    "tls_label",
]


class Direction(StrEnum):
    """Which way the proxied workload sees the connection."""

    __hash__ = str.__hash__  # that of Enum is Python code

    IN = "in"
    OUT = "out"


class NoTlsReason(StrEnum):
    """Why a connection is plaintext: tap, metrics and ``meshtx why`` print the value as it stands."""

    NOT_DISCOVERED = "not_provided_by_service_discovery"
    """Outbound: the directory knows the address and that it is not meshed."""
    LOOPBACK = "loopback"
    """Outbound: the destination is this very workload."""
    PORT_SKIPPED = "port_skipped"
    """The configuration skips this port."""
    NO_TLS_FROM_REMOTE = "no_tls_from_remote"
    """Inbound: the peer spoke something else than TLS to our name."""
    PASSTHROUGH = "passthru"
    """Inbound: TLS of the application itself, to another name; forwarded as it is."""


class Known(StrEnum):
    """How the client of a connection is known: tap, metrics and log print the value as it stands."""

    DIRECT = "direct"
    """It is the TCP peer: a workload, or an address outside that is seen as it is."""
    MESH = "mesh"
    """A gateway of the mesh, which proved its name, carries its address."""
    PROXY_HEADER = "proxy_header"
    """A declared balancer says it in a PROXY header."""
    OBSCURED = "obscured"
    """It is not: a node or a balancer has put its own address in its place, here or where a gateway was."""


class Refusal(StrEnum):
    """Why the proxy closed a connection, beside the reasons of `meshtx.net.failures.TlsFailure`."""

    DIRECTORY_NOT_READY = "directory_not_ready"
    """Outbound: the directory did not say in time where this goes, or is out of reach and has never said."""
    NO_ENDPOINTS = "no_endpoints"
    """Outbound: the destination is a service's address, and nobody who serves it is ready."""
    NO_CREDENTIALS = "no_credentials"
    """The proxy has no certificate yet, or its last one has expired."""
    LOOP = "loop"
    """The connection is addressed to the proxy itself."""
    NO_ORIGINAL_DESTINATION = "no_original_destination"
    """The kernel does not say where a redirected connection was going."""
    NO_RULE = "no_rule"
    """Policy is on and no rule lets this peer in."""
    TLS_REQUIRED = "tls_required"
    """Plaintext, or TLS to another name, came to the port that takes only mutual TLS."""
    TLS_UNDECIDED = "tls_undecided"
    """A ClientHello that was begun and not finished within the deadline."""
    PROXY_HEADER = "proxy_header"
    """A declared balancer did not begin with a PROXY header, or not in time."""
    CONNECT_FAILED = "connect_failed"
    """The workload or the peer refused the connection, or did not answer in time."""
    PROTOCOL_ERROR = "protocol_error"
    """The peer broke the format of a leg or of a transport header."""
    REFUSED_BY_PEER = "refused_by_peer"
    """The peer's proxy refused the connection; the detail is its reason."""
    LIMIT = "limit"
    """A bound was reached."""
    STOPPING = "stopping"
    """The proxy stops, and the connection was not served yet."""
    INTERNAL = "internal"
    """A defect of ours or of a plugin; the log has it."""


@dataclass(frozen=True, slots=True)
class Mtls:
    """The connection is mutual TLS with this peer.

    :param protocol: the ALPN protocol, ``""`` where none was negotiated.
    """

    peer: Name
    protocol: str


@dataclass(frozen=True, slots=True)
class NoTls:
    """The connection is plaintext, and why."""

    reason: NoTlsReason


Security = Mtls | NoTls


def tls_label(security: Security | None) -> str:
    """Return what tap prints behind ``tls=``: ``true``, the reason, or ``unknown`` before it is decided."""
    match security:
        case Mtls():
            return "true"
        case NoTls(reason):
            return reason.value
        case None:
            return "unknown"


@dataclass(frozen=True, slots=True)
class Flow:
    """One proxied connection, as far as it is known.

    :param id: counts connections of this proxy, from 0.
    :param src: where it comes from: the client as far as it is known; outbound the workload, or a gateway's client.
    :param dst: the original destination; inbound the workload's address.
    :param opened: seconds since the epoch.
    :param known: how `src` is known.
    :param hidden_by: the Service, ``NAMESPACE/NAME``, that hides clients of the port that `src` has connected to, where
        it is obscured; empty: none is known.
    """

    id: int
    direction: Direction
    src: Address
    dst: Address
    opened: float
    security: Security | None = None
    known: Known = Known.DIRECT
    hidden_by: str = ""


@dataclass(frozen=True, slots=True)
class FlowEnd:
    """How a flow ended.

    :param error: the refusal or failure, ``None`` for an orderly end.
    :param detail: for a person: what was seen, e.g. the names that did not match.
    :param duration: seconds.
    :param sent: bytes from client to server; `received`: the other way.
    """

    error: str | None
    detail: str
    duration: float
    sent: int
    received: int


@dataclass(frozen=True, slots=True)
class Request:
    """The start of one request (HTTP, gRPC, or what a user's detector calls one).

    :param id: counts the requests of its flow, from 0.
    :param protocol: the detector's name: ``http/1.1``, ``h2``, or a plugin's.
    """

    id: int
    protocol: str
    method: str
    authority: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Response:
    """The start of the answer to request `id`. `status` is the HTTP status, or a plugin's own number."""

    id: int
    status: int
    headers: tuple[tuple[str, str], ...] = ()


Seen = Request | Response | ResponseEnd | RequestHead | ResponseHead | Upgraded | GaveUp
"""What an observer reports, in order of appearance: the first three, or what the parsers of HTTP say as they say it."""
