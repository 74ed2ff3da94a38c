"""The detectors of HTTP/1 and HTTP/2, and how detectors are found by their names.

A detector is an object in the package `meshtx.plugins`; ours are there as well. Only those that
the configuration names are used, asked in its order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.logger import Logger
from twisted.plugin import IPlugin
from zope.interface import implementer

from meshtx.extensions import Extensions
from meshtx.interfaces import Detection, IDetector, IObserver
from meshtx.observe.flow import Flow, Seen
from meshtx.wire import http_events as wire
from meshtx.wire.sniff import Verdict

DETECTORS = Extensions(IDetector, "detectors", "detector")

_DETECTION = {Verdict.YES: Detection.YES, Verdict.NO: Detection.NO, Verdict.MORE: Detection.MORE}


class _Parser(Protocol):
    """What `Http1Observer` and `Http2Observer` have in common.

    The events are `wire.Event`; as long as it has not stopped, each of them is `Seen`.
    """

    stopped: bool

    def client_data(self, data: bytes) -> list[Any]: ...

    def server_data(self, data: bytes) -> list[Any]: ...

    def ended(self, orderly: bool) -> list[Any]: ...


@implementer(IObserver)
class HttpObserver:
    """Passes on a parser's events, which are what an observer reports, but for the last one.

    A request whose connection becomes another protocol is over with that.

    :ivar detached: true once nothing more will be reported, though the connection goes on.
    """

    log = Logger()

    def __init__(self, protocol: str, flow: int, parser: _Parser) -> None:
        self.detached = False
        self._protocol = protocol
        self._flow = flow
        self._parser = parser

    def client_data(self, data: bytes) -> list[Seen]:
        """Return what these bytes from the client complete."""
        parser = self._parser
        events = parser.client_data(data)
        return self._last(events) if parser.stopped else events

    def server_data(self, data: bytes) -> list[Seen]:
        """Return what these bytes from the server complete."""
        parser = self._parser
        events = parser.server_data(data)
        return self._last(events) if parser.stopped else events

    def ended(self, orderly: bool) -> list[Seen]:
        """Return what the end of the connection ends."""
        return self._parser.ended(orderly)

    def _last(self, events: list[Any]) -> list[Seen]:
        self.detached = True
        match events[-1:]:
            case [wire.Upgraded(number)]:
                return [*events[:-1], wire.ResponseEnd(number, 0)]
            case [wire.GaveUp(reason)]:
                self.log.debug(
                    "flow {flow}: {protocol} is no longer observed: {reason}",
                    flow=self._flow,
                    protocol=self._protocol,
                    reason=reason,
                )
                return events[:-1]
        return events


@implementer(IPlugin, IDetector)
class HttpDetector:
    """Makes a detector of a function of `meshtx.wire.sniff` and a parser."""

    def __init__(self, name: str, judge: Callable[[bytes], Verdict], parser: Callable[[], _Parser]) -> None:
        self.name = name
        self._judge = judge
        self._parser = parser

    def detect(self, first: bytes) -> Detection:
        """Judge the first bytes that the client sent."""
        return _DETECTION[self._judge(first)]

    def observer(self, flow: Flow) -> IObserver:
        """Return a new observer for a connection that was recognised."""
        return HttpObserver(self.name, flow.id, self._parser())


def load_detectors(names: Sequence[str]) -> list[IDetector]:
    """Return the detectors of these names, in this order; a name said twice counts once.

    :raises ConfigError: a name is not known, is offered twice, or its detector does not fit the interface.
    """
    return DETECTORS.load(names)
