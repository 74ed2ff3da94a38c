"""The detectors of HTTP/1 and HTTP/2, and how detectors are found by their names.

A detector is an object in the package `meshtx.plugins`; ours are there as well. Only those that
the configuration names are used, asked in its order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.logger import Logger
from twisted.plugin import IPlugin
from zope.interface import implementer

from meshtx.extensions import Extensions
from meshtx.interfaces import Detection, IDetector, IObserver
from meshtx.observe.flow import Flow, Request, Response, ResponseEnd, Seen
from meshtx.wire import http_events as wire
from meshtx.wire.sniff import Verdict

DETECTORS = Extensions(IDetector, "detectors", "detector")

_DETECTION = {Verdict.YES: Detection.YES, Verdict.NO: Detection.NO, Verdict.MORE: Detection.MORE}


class _Parser(Protocol):
    """What `Http1Observer` and `Http2Observer` have in common."""

    stopped: bool

    def client_data(self, data: bytes) -> list[wire.Event]: ...

    def server_data(self, data: bytes) -> list[wire.Event]: ...

    def ended(self, orderly: bool) -> list[wire.Event]: ...


@implementer(IObserver)
class HttpObserver:
    """Tells a parser's events as requests of a flow.

    A request whose connection becomes another protocol is over with that.
    """

    log = Logger()

    def __init__(self, protocol: str, flow: int, parser: _Parser) -> None:
        self._protocol = protocol
        self._flow = flow
        self._parser = parser

    @property
    def detached(self) -> bool:
        """True once nothing more will be reported, though the connection goes on."""
        return self._parser.stopped

    def client_data(self, data: bytes) -> list[Seen]:
        """Return what these bytes from the client complete."""
        return self._seen(self._parser.client_data(data))

    def server_data(self, data: bytes) -> list[Seen]:
        """Return what these bytes from the server complete."""
        return self._seen(self._parser.server_data(data))

    def ended(self, orderly: bool) -> list[Seen]:
        """Return what the end of the connection ends."""
        return self._seen(self._parser.ended(orderly))

    def _seen(self, events: list[wire.Event]) -> list[Seen]:
        seen: list[Seen] = []
        for event in events:
            match event:
                case wire.RequestHead(index, method, authority, path, headers):
                    seen.append(Request(index, self._protocol, method, authority, path, headers))
                case wire.ResponseHead(index, status, headers):
                    seen.append(Response(index, status, headers))
                case wire.ResponseEnd(index, length, grpc_status, reset):
                    seen.append(ResponseEnd(index, length, grpc_status, reset))
                case wire.Upgraded(index):
                    seen.append(ResponseEnd(index, 0))
                case wire.GaveUp(reason):
                    self.log.debug(
                        "flow {flow}: {protocol} is no longer observed: {reason}",
                        flow=self._flow,
                        protocol=self._protocol,
                        reason=reason,
                    )
        return seen


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
