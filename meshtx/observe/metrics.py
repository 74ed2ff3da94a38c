"""Every series of a program, in a registry of its own (nothing global).

Names and labels are Linkerd's where the series measures Linkerd's thing, so that its dashboards
work; else ``meshtx_<what>_<unit>``. A connection's labels:

    direction="inbound|outbound"  peer="src|dst"  tls="true|opaque|no_identity"  no_tls_reason=""

`peer` is the side that is not the workload. ``opaque`` is TLS of the application itself. Label
values come from enums or from the configuration, never from a peer's text. What is counted with every
connection or request is found by `FlowSeries`, looked up once a connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from meshtx import __version__
from meshtx.observe.counted import Count, Counts, Spreads
from meshtx.observe.flow import Direction, Known, NoTls, NoTlsReason, ResponseEnd, Security
from meshtx.observe.leg_series import LegMetrics, LegSeries
from meshtx.rpc.status import Status
from meshtx.watch import Followed, Reload

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

LATENCY_BUCKETS_MS = (
    *range(1, 6),
    *range(10, 51, 10),
    *range(100, 501, 100),
    *range(1000, 5001, 1000),
    *range(10_000, 50_001, 10_000),
)
"""Milliseconds; Linkerd's."""

HANDSHAKE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds, up to the deadline of a handshake."""

FLOW_LABELS = ("direction", "peer", "tls", "no_tls_reason")
OTHER = "other"
"""The label of a number or an error that is in no enum."""

RESET = "reset"
"""The error of a connection that one side cut off."""

_STATUSES = {status.value: str(status.value) for status in HTTPStatus}
_GRPC_STATUSES = {status.value: str(status.value) for status in Status}
_GRPC_FAILURES = {
    Status.UNKNOWN,
    Status.DEADLINE_EXCEEDED,
    Status.INTERNAL,
    Status.UNAVAILABLE,
    Status.DATA_LOSS,
}
"""What counts against a service; the rest is the caller's doing."""

_DIRECTIONS = {Direction.IN: ("inbound", "src"), Direction.OUT: ("outbound", "dst")}


def flow_labels(direction: Direction, security: Security | None) -> tuple[str, str, str, str]:
    """Return the values of `FLOW_LABELS`; Linkerd spells them differently in metrics and in tap."""
    match security:
        case NoTls(NoTlsReason.PASSTHROUGH):
            tls = ("opaque", "")
        case NoTls(reason):
            tls = ("no_identity", reason.value)
        case None:
            tls = ("no_identity", "unknown")
        case _:
            tls = ("true", "")
    return (*_DIRECTIONS[direction], *tls)


def succeeded(status: int, end: ResponseEnd) -> bool:
    """Say whether an answer counts as good: whole, no 5xx, no gRPC status that is the server's fault."""
    return status < 500 and end.reset is None and end.grpc_status not in _GRPC_FAILURES


class Metrics:
    """All series. Methods are named for what has happened.

    :param registry: where to register; a new one if not given. A plugin may add its own series to `registry`.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry = registry or CollectorRegistry()
        self.before_exposition: list[Callable[[], None]] = []
        """Called before the series are shown, to bring them up to date."""
        ProcessCollector(registry=registry)
        build = Gauge("meshtx_build_info", "Always 1; the label is the version.", ["version"], registry=registry)
        build.labels(__version__).set(1)
        self._connections(registry)
        self._bounds(registry)
        self._beginnings(registry)
        self._requests(registry)
        self._observation(registry)
        self._identity(registry)
        self._legs = LegMetrics(registry)
        self._reloads = Counter(
            "meshtx_reload",
            "Changes of files that the program follows; of a rejected one the last good content stays in use.",
            ("what", "result"),
            registry=registry,
        )
        self._flows: dict[tuple[Direction, NoTlsReason | bool | None], FlowSeries] = {}

    def _connections(self, registry: CollectorRegistry) -> None:
        self.tcp_open = Counts("tcp_open", "Connections opened.", FLOW_LABELS, registry)
        self.tcp_open_connections = Gauge(
            "tcp_open_connections", "Connections open now.", FLOW_LABELS, registry=registry
        )
        self.tcp_close = Counts(
            "tcp_close", "Connections closed; errno is empty for an orderly end.", (*FLOW_LABELS, "errno"), registry
        )
        self.tcp_read_bytes = Counts("tcp_read_bytes", "Bytes read from the peer.", FLOW_LABELS, registry)
        self.tcp_write_bytes = Counts("tcp_write_bytes", "Bytes written to the peer.", FLOW_LABELS, registry)
        self._tcp_refused = Counter(
            "tcp_refused",
            "Connections refused by this proxy, by reason.",
            ("direction", "reason"),
            registry=registry,
        )
        self._silent = Counter(
            "meshtx_silent_connections",
            "Connections that ended before they had said what they are: probes of load balancers.",
            ("direction", "source"),
            registry=registry,
        )

    def _bounds(self, registry: CollectorRegistry) -> None:
        self._early_dials = Counter(
            "meshtx_early_dials",
            "Connections to the workload made, or not for their number, before its client had said anything.",
            ("result",),
            registry=registry,
        )
        self._limit = Gauge("meshtx_limit", "The bound of what is limited.", ("limit",), registry=registry)
        self._limit_used = Gauge("meshtx_limit_used", "How much of it is in use.", ("limit",), registry=registry)
        self._limit_reached = Counter(
            "meshtx_limit_reached",
            "Connections closed to keep a bound: the proxy's, or that of one source.",
            ("limit", "of"),
            registry=registry,
        )

    def _beginnings(self, registry: CollectorRegistry) -> None:
        self._hedges = Counter(
            "meshtx_connect_hedges",
            "Further attempts to connect, made because the first had no answer yet, by what became of them.",
            ("outcome",),
            registry=registry,
        )
        self._retransmits = Counter(
            "meshtx_connect_retransmits",
            "SYNs that the kernel had sent again on connections that then came about.",
            registry=registry,
        )
        self._handshake = Histogram(
            "meshtx_handshake_duration_seconds",
            "TLS handshakes that succeeded.",
            ("direction",),
            buckets=HANDSHAKE_BUCKETS,
            registry=registry,
        )
        self._handshakes: dict[Direction, Histogram] = {}

    def _requests(self, registry: CollectorRegistry) -> None:
        self.request = Counts("request", "Requests seen.", FLOW_LABELS, registry)
        self.response = Counts(
            "response",
            "Answers that have ended.",
            (*FLOW_LABELS, "classification", "status_code", "grpc_status"),
            registry,
        )
        self.response_latency = Spreads(
            "response_latency_ms",
            "Milliseconds from a request's head to the end of its answer.",
            FLOW_LABELS,
            LATENCY_BUCKETS_MS,
            registry,
        )

    def _observation(self, registry: CollectorRegistry) -> None:
        self._detached = Counter(
            "meshtx_observers_detached",
            "Connections whose observer gave up: they went on unobserved.",
            ("protocol", "why"),
            registry=registry,
        )
        self.tap_subscribers = Gauge("meshtx_tap_subscribers", "Taps open now.", registry=registry)
        self.tap_lost = Counter(
            "meshtx_tap_lost_events", "Events dropped because a tap was too slow for them.", registry=registry
        )
        self._tap_refused = Counter("meshtx_tap_refused", "Taps refused, by status.", ("status",), registry=registry)

    def _identity(self, registry: CollectorRegistry) -> None:
        self._refreshes = Counter(
            "control_identity_cert_refreshes",
            "Attempts to get a certificate.",
            ("result",),
            registry=registry,
        )
        self._certified = Counter(
            "meshtx_identity_certify", "Certify calls answered, by status.", ("status",), registry=registry
        )
        self._leaf_expiry = _LateGauge(
            registry, "control_identity_cert_expiration_timestamp_seconds", "When the certificate in use expires."
        )
        self._leaf_refresh = _LateGauge(
            registry, "control_identity_cert_refresh_timestamp_seconds", "When the certificate in use was got."
        )
        self._anchor_expiry = _LateGauge(
            registry, "meshtx_trust_anchor_expiration_timestamp_seconds", "When the first trust anchor expires."
        )
        self._issuer_expiry = _LateGauge(
            registry, "meshtx_identity_issuer_expiration_timestamp_seconds", "When the issuer certificate expires."
        )

    def flow(self, direction: Direction, security: Security | None) -> FlowSeries:
        """Return the bound series of connections of this kind."""
        key = (direction, security.reason if isinstance(security, NoTls) else security is not None)
        series = self._flows.get(key)
        if series is None:
            series = self._flows[key] = FlowSeries(self, flow_labels(direction, security))
        return series

    def legs(self, direction: Direction) -> LegSeries:
        """Return the series of one side's legs."""
        return LegSeries(self._legs, _DIRECTIONS[direction][0])

    def refused(self, direction: Direction, reason: StrEnum) -> None:
        """Count a connection that the proxy closed on purpose."""
        self._tcp_refused.labels(_DIRECTIONS[direction][0], reason.value).inc()

    def silent(self, direction: Direction, known: Known = Known.DIRECT) -> None:
        """Count a connection that ended undecided, by how its client was known."""
        self._silent.labels(_DIRECTIONS[direction][0], known.value).inc()

    def early_dial(self, result: StrEnum) -> None:
        """Count what has become of a connection to the workload that was made on a guess."""
        self._early_dials.labels(result.value).inc()

    def limited(self, limit: StrEnum, bound: int, used: Callable[[], float]) -> None:
        """Show a bound, and how much of it is in use."""
        self._limit.labels(limit.value).set(bound)
        self._limit_used.labels(limit.value).set_function(used)

    def limit_reached(self, limit: StrEnum, of: StrEnum) -> None:
        """Count a connection that was closed to keep a bound."""
        self._limit_reached.labels(limit.value, of.value).inc()

    def hedged(self, outcome: StrEnum) -> None:
        """Count an attempt to connect that was made beside the first."""
        self._hedges.labels(outcome.value).inc()

    def retransmitted(self, count: int) -> None:
        """Count SYNs that had to be sent again."""
        self._retransmits.inc(count)

    def handshake(self, direction: Direction, seconds: float) -> None:
        """Note how long a TLS handshake took."""
        series = self._handshakes.get(direction)
        if series is None:
            series = self._handshakes[direction] = self._handshake.labels(_DIRECTIONS[direction][0])
        series.observe(seconds)

    def observer_detached(self, protocol: str, why: StrEnum) -> None:
        """Count an observer or detector that stopped; `protocol` is the detector's configured name."""
        self._detached.labels(protocol, why.value).inc()

    def tap_refused(self, status: Status) -> None:
        """Count a tap that was not opened."""
        self._tap_refused.labels(status.name).inc()

    def certificate(self, not_after: datetime, now: datetime) -> None:
        """Note a new certificate in use."""
        self._leaf_expiry.set(not_after.timestamp())
        self._leaf_refresh.set(now.timestamp())

    def certificate_refreshed(self, result: StrEnum) -> None:
        """Count an attempt to get a certificate: one without an answer, refused, or with a bad certificate fails."""
        self._refreshes.labels(result.value).inc()

    def anchors(self, not_after: Iterable[datetime]) -> None:
        """Note when the trust anchors in use expire (at least one)."""
        self._anchor_expiry.set(min(not_after).timestamp())

    def issuer(self, not_after: datetime) -> None:
        """Note when the issuer in use expires."""
        self._issuer_expiry.set(not_after.timestamp())

    def reloads(self, what: Followed) -> Callable[[Reload], None]:
        """Return what counts reloads; the series begin at 0, for the first one to be a rise."""
        series = {result: self._reloads.labels(what.value, result.value) for result in Reload}
        return lambda result: series[result].inc()

    def certify(self, status: Status) -> None:
        """Count a Certify call that the identity service has answered."""
        self._certified.labels(status.name).inc()

    def exposition(self) -> bytes:
        """Return all series in Prometheus' text format (`CONTENT_TYPE`)."""
        for refresh in self.before_exposition:
            refresh()
        return generate_latest(_WithoutCreated(self.registry))


class FlowSeries:
    """The series of one kind of connection, bound to its labels."""

    def __init__(self, metrics: Metrics, labels: tuple[str, str, str, str]) -> None:
        self._metrics = metrics
        self._labels = labels
        self._inbound = labels[0] == "inbound"
        self._opened = metrics.tcp_open.labels(*labels)
        self._closed: dict[str, Count] = {}
        self._open_now = 0
        metrics.tcp_open_connections.labels(*labels).set_function(lambda: self._open_now)
        self._read = metrics.tcp_read_bytes.labels(*labels)
        self._written = metrics.tcp_write_bytes.labels(*labels)
        self.requests = metrics.request.labels(*labels)
        self._latency = metrics.response_latency.labels(*labels)
        self._responses: dict[tuple[int, int | None, bool], Count] = {}

    def opened(self) -> None:
        """Count a connection that is decided."""
        self._opened.value += 1
        self._open_now += 1

    def closed(self, error: str | None) -> None:
        """Count its end; an error that is neither a member of an enum nor `RESET` is ``other``."""
        self._open_now -= 1
        known = error is None or error == RESET or isinstance(error, StrEnum)
        errno = str(error or "") if known else OTHER
        count = self._closed.get(errno)
        if count is None:
            count = self._closed[errno] = self._metrics.tcp_close.labels(*self._labels, errno)
        count.value += 1

    def moved(self, sent: int, received: int) -> None:
        """Count bytes from client to server (`sent`) and back; which of them the peer wrote depends on direction."""
        read, written = (sent, received) if self._inbound else (received, sent)
        self._read.value += read
        self._written.value += written

    def responded(self, status: int, end: ResponseEnd, latency: float) -> None:
        """Count an answer that has ended. It runs with every request.

        :param latency: seconds since the request's head.
        """
        self._latency.observe(latency * 1000)
        count = self._responses.get((status, end.grpc_status, end.reset is None))
        if count is None:
            count = self._response(status, end)
        count.value += 1

    def _response(self, status: int, end: ResponseEnd) -> Count:
        """Return the series of answers like this one; only known numbers are remembered, for they are few."""
        code = _STATUSES.get(status, OTHER)
        grpc = "" if end.grpc_status is None else _GRPC_STATUSES.get(end.grpc_status, OTHER)
        classification = "success" if succeeded(status, end) else "failure"
        count = self._metrics.response.labels(*self._labels, classification, code, grpc)
        if OTHER not in {code, grpc}:
            self._responses[status, end.grpc_status, end.reset is None] = count
        return count


class _LateGauge:
    """A gauge that appears with its first value: a time of 0 would read as long expired."""

    def __init__(self, registry: CollectorRegistry, name: str, documentation: str) -> None:
        self._registry = registry
        self._gauge = Gauge(name, documentation, registry=None)
        self._shown = False

    def set(self, value: float) -> None:
        if not self._shown:
            self._registry.register(self._gauge)
            self._shown = True
        self._gauge.set(value)


class _WithoutCreated:
    """The registry without the ``_created`` twins of counters, which only OpenMetrics asks for."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            created = metric.name + "_created"
            metric.samples = [sample for sample in metric.samples if sample.name != created]
            yield metric
