"""The detectors of HTTP/1 and HTTP/2, and how detectors are found by their names.

A detector is an object in the package `meshtx.plugins`; ours are there as well. Only those that
the configuration names are used, asked in its order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.plugin import IPlugin
from zope.interface import implementer

from meshtx.extensions import Extensions
from meshtx.interfaces import Detection, IDetector, IObserver
from meshtx.observe.flow import Flow

DETECTORS = Extensions(IDetector, "detectors", "detector")


@implementer(IPlugin, IDetector)
class HttpDetector:
    """Makes a detector of a function of `meshtx.wire.sniff` and a parser, which is an observer as it is."""

    def __init__(self, name: str, judge: Callable[[bytes], Detection], parser: Callable[[], IObserver]) -> None:
        self.name = name
        self._judge = judge
        self._parser = parser

    def detect(self, first: bytes) -> Detection:
        """Judge the first bytes that the client sent."""
        return self._judge(first)

    def observer(self, flow: Flow) -> IObserver:  # noqa: ARG002  # one is like another
        """Return a new observer for a connection that was recognised."""
        return self._parser()


def load_detectors(names: Sequence[str]) -> list[IDetector]:
    """Return the detectors of these names, in this order; a name said twice counts once.

    :raises ConfigError: a name is not known, is offered twice, or its detector does not fit the interface.
    """
    return DETECTORS.load(names)
