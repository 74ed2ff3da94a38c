"""Every connection of a proxy, from accept to end: counted, watched, shown to taps; logged if it is refused.

    open ─▶ secured | plaintext ─▶ (bytes pass) ─▶ ended
      └──────────────┴─ refuse, at any point (a peer's alert can come behind the first bytes)

The relay calls `client_data` and `server_data` for each chunk as long as they are wanted. Observers
run from a connection's first byte on, whether somebody taps or not: requests are counted anyway,
and neither HTTP/1 nor HTTP/2 can be joined in the middle. Once a connection turns out to be nothing
that a detector knows, the relay is let go of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from itertools import count
from typing import Protocol

from twisted.logger import Logger

from meshtx.interfaces import IDetector
from meshtx.observe.budget import Budget
from meshtx.observe.exchanges import Exchanges
from meshtx.observe.flow import Direction, Flow, FlowEnd, Known, Mtls, NoTls, Security, Seen
from meshtx.observe.metrics import FlowSeries, Metrics
from meshtx.observe.printable import printable
from meshtx.observe.sparing import Sparing
from meshtx.observe.tap import FlowOpened, FlowRefused, TapEvent, TapHub, What
from meshtx.observe.watcher import Detached, Watcher
from meshtx.wire.address import Address

OnData = Callable[[bytes], None]

_OPENED = FlowOpened()


class Clock(Protocol):
    """The one thing needed of a reactor: the time, in seconds since the epoch."""

    def seconds(self) -> float:
        """Return it."""
        ...


class End(Protocol):
    """What is needed of an end of a relay (`meshtx.net.relay.RelayEnd`)."""

    on_data: OnData | None
    """Gets a copy of what came from this end; may be replaced."""
    received: int
    """Bytes that came from this end so far."""


class Flows:
    """Makes a `FlowHandle` for each connection.

    :param detectors: asked in this order; without any, no connection is looked into.
    :param budget: what that may cost.
    """

    log = Logger()

    def __init__(
        self,
        clock: Clock,
        metrics: Metrics,
        tap: TapHub,
        detectors: Sequence[IDetector],
        budget: Budget | None = None,
    ) -> None:
        self.clock = clock
        self.metrics = metrics
        self.tap = tap
        self.detectors = tuple(detectors)
        self.budget = budget or Budget()
        self.number: Callable[[], int] = count().__next__
        self._failed: set[str] = set()
        self._sparing = Sparing()
        self.relaying: set[FlowHandle] = set()
        self.failed = self.observer_failed
        """One for all connections."""
        metrics.before_exposition.append(self._account)

    def open(
        self, direction: Direction, src: Address, dst: Address, known: Known = Known.DIRECT, hidden_by: str = ""
    ) -> FlowHandle:
        """Note a new connection.

        :param known: how `src` is known; `hidden_by`: see `Flow`.
        """
        return FlowHandle(self, direction, src, dst, known, hidden_by=hidden_by)

    def _account(self) -> None:
        for handle in self.relaying:
            handle.account()

    def log_refusal(self, flow: Flow, reason: StrEnum, detail: str) -> None:
        """Log it, unless many for the same reason were logged just now; `detail` may be empty."""
        left_out = self._sparing.left_out((flow.direction, reason), self.clock.seconds())
        if left_out is None:
            return
        source = "{src}" if flow.known is Known.DIRECT else "{src} ({known})"
        if flow.hidden_by:
            source = "{src} ({known} by {hidden_by})"
        text = "{direction} " + source + " -> {dst} refused: {reason}"
        self.log.info(
            text + (" ({detail})" if detail else "") + (", and {left_out} more before it" if left_out else ""),
            direction="inbound" if flow.direction is Direction.IN else "outbound",
            src=flow.src,
            known=flow.known.value,
            hidden_by=printable(flow.hidden_by),
            dst=flow.dst,
            reason=reason.value,
            detail=printable(detail),
            left_out=left_out,
        )

    def observer_failed(self, protocol: str) -> None:
        """Count the exception being handled, and log it once for each detector: it may come with every connection."""
        self.metrics.observer_detached(protocol, Detached.FAILED)
        if protocol not in self._failed:
            self._failed.add(protocol)
            self.log.failure(
                "observer of {protocol} failed; the connection goes on unobserved, further failures are only counted",
                protocol=protocol,
            )


class FlowHandle:
    """One connection: its owner tells it what happens.

    :ivar src: the client, as far as it is known now.
    :ivar client_data: looks at bytes from the client in passing, `server_data` at those from the server;
        they raise nothing.
    """

    __slots__ = (
        "_announced",
        "_began",
        "_counted",
        "_direction",
        "_dst",
        "_ends",
        "_exchanges",
        "_flows",
        "_has_requests",
        "_hidden_by",
        "_id",
        "_known",
        "_over",
        "_security",
        "_series",
        "_value",
        "_watcher",
        "client_data",
        "server_data",
        "src",
    )

    def __init__(
        self, flows: Flows, direction: Direction, src: Address, dst: Address, known: Known, *, hidden_by: str
    ) -> None:
        self.src = src
        self._id = flows.number()
        self._direction = direction
        self._dst = dst
        self._known = known
        self._hidden_by = hidden_by
        self._security: Security | None = None
        self._began = flows.clock.seconds()
        self._value: Flow | None = None
        self._flows = flows
        self._series: FlowSeries | None = None
        self._exchanges: Exchanges | None = None
        self._has_requests = False
        self._announced = False
        self._over = False
        self._ends: tuple[End, End] | None = None
        self._counted = (0, 0)
        watcher = Watcher(flows.detectors, self, self._seen, flows.failed, flows.budget) if flows.detectors else None
        self._watcher = watcher
        self.client_data: OnData = watcher.client_data if watcher else _unseen
        self.server_data: OnData = watcher.server_data if watcher else _unseen

    @property
    def flow(self) -> Flow:
        """The connection as it is known now; the same value until that changes."""
        value = self._value
        if value is None:
            value = self._value = Flow(
                self._id,
                self._direction,
                self.src,
                self._dst,
                self._began,
                self._security,
                self._known,
                self._hidden_by,
            )
        return value

    @property
    def watched(self) -> bool:
        """False once nobody looks at the bytes: the relay may as well be given no callables."""
        return self._watcher is not None

    def addressed(
        self, src: Address | None = None, dst: Address | None = None, *, known: Known | None = None, hidden_by: str = ""
    ) -> None:
        """Correct what is known better now, e.g. an end, from the header of a connection to the proxy itself.

        :param hidden_by: see `Flow`; it goes with `known`.
        """
        self.src, self._dst, self._value = src or self.src, dst or self._dst, None
        if known is not None:
            self._known, self._hidden_by = known, hidden_by

    def secured(self, mtls: Mtls) -> None:
        """Note that it is mutual TLS, and with whom."""
        self._decided(mtls)

    def plaintext(self, no_tls: NoTls) -> None:
        """Note that it is not, and why."""
        self._decided(no_tls)

    def opaque(self) -> None:
        """Do not look at the bytes."""
        if self._watcher is not None:
            self._watcher.detach(Detached.NOT_RECOGNISED)

    def relayed(self, client: End, server: End) -> None:
        """Watch the two ends of a relay, as long as there is something to see, and count their bytes.

        Call it before they are joined: what is not seen from the first byte on is not understood.
        """
        if self._over:
            return
        self._ends = client, server
        if self._watcher is not None:
            client.on_data, server.on_data = self.client_data, self.server_data
        self._flows.relaying.add(self)

    def account(self) -> None:
        """Count the bytes that have gone through until now."""
        if self._ends is not None:
            self._moved(*(end.received for end in self._ends))

    def refuse(self, reason: StrEnum, detail: str = "") -> None:
        """Note that the proxy closes it on purpose.

        :param detail: for a person: what was seen.
        """
        if self._over:
            return
        self.account()
        self._close()
        self._stop_watching(orderly=False)
        flow = self.flow
        self._flows.metrics.refused(flow.direction, reason)
        if self._series is not None:
            self._series.closed(reason)
        self._flows.log_refusal(flow, reason, detail)
        self._publish(FlowRefused(reason.value, detail))

    def ended(self, sent: int, received: int, error: str | None = None, detail: str = "") -> None:
        """Note the end, once; after a refusal it changes nothing.

        :param sent: bytes from client to server.
        :param received: bytes from server to client.
        :param error: what cut it off, ``None`` for an orderly end; a member of an enum is counted by its value.
        """
        if self._over:
            return
        self._stop_watching(orderly=error is None)
        self._close()
        if self._series is None:
            if error is None:
                self._flows.metrics.silent(self._direction, self._known)
                return
        else:
            self._moved(sent, received)
            self._series.closed(error)
        if not self._has_requests and self._flows.tap.subscriptions:
            duration = max(0.0, self._flows.clock.seconds() - self._began)
            self._publish(FlowEnd(error, detail, duration, sent, received))

    def forget(self) -> None:
        """Note nothing more of it, not even an end: what it carries is noted one by one."""
        self._close()
        self.opaque()

    def _close(self) -> None:
        """Let go of the ends too: they lead back here."""
        self._over = True
        self._flows.relaying.discard(self)
        self._ends = None

    def _moved(self, sent: int, received: int) -> None:
        if self._series is not None:
            self._series.moved(sent - self._counted[0], received - self._counted[1])
            self._counted = sent, received

    def _decided(self, security: Security) -> None:
        if self._over or self._series is not None:
            return
        self._security, self._value = security, None
        self._series = self._flows.metrics.flow(self._direction, security)
        self._series.opened()
        self._announce()

    def _announce(self) -> None:
        """Show a connection to taps, once it is decided and known to have no requests to show instead."""
        ready = self._series is not None and self._watcher is None and not self._has_requests
        if ready and not self._announced and not self._over:
            self._announced = True
            self._publish(_OPENED)

    def _publish(self, what: What) -> None:
        tap = self._flows.tap
        if tap.subscriptions:
            event = TapEvent(self._flows.clock.seconds(), self.flow, what)
            for subscription in tap.of_flow(self.flow):
                subscription.offer(event)

    def _seen(self, events: Sequence[Seen]) -> None:
        """Take what is seen first; what comes next does not pass through here."""
        flows, watcher = self._flows, self._watcher
        if watcher is not None:
            self._value = None  # was made for the observer; there may be no tap to want it again
            series = self._series or flows.metrics.flow(self._direction, self._security)
            tap, now = flows.tap, flows.clock.seconds
            self._exchanges = exchanges = Exchanges(tap, series, watcher.protocol, self, now)
            watcher.seen = exchanges.seen
            exchanges.seen(events)

    def _stop_watching(self, *, orderly: bool) -> None:
        if self._watcher is not None:
            self._watcher.ended(orderly=orderly)

    def detached(self, protocol: str, why: Detached) -> None:
        """See `Watched`."""
        if self._exchanges is not None:
            self._has_requests = self._exchanges.requested
        self._watcher = None
        self._exchanges = None
        self.client_data = self.server_data = _unseen
        if self._ends is not None:
            for end in self._ends:
                end.on_data = None
        if why in (Detached.GAVE_UP, Detached.LIMIT, Detached.BUDGET):
            self._flows.metrics.observer_detached(protocol, why)
        self._announce()


def _unseen(data: bytes) -> None:
    """Take the place of what looks at bytes, where nobody does."""
