"""The directory of a proxy that takes connections in and none out: nobody asks it for a destination."""

from __future__ import annotations

from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from meshtx.directory.ranges import Ranges
from meshtx.directory.target import NotReady, PortFacts, Target
from meshtx.interfaces import IDirectory
from meshtx.wire.address import Address


@implementer(IDirectory)
class Nothing(Service):
    """Knows no destination, and nothing special of any port."""

    ready = True
    ranges = Ranges()

    def find(self, destination: Address) -> Deferred[Target]:
        """Fail: what is not known is refused."""
        return fail(NotReady(f"no directory is configured that could know {destination}"))

    def own_port(self, address: Address) -> PortFacts:  # noqa: ARG002 - the interface's
        """Return that the port is like any other."""
        return PortFacts()

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:  # noqa: ARG002 - nothing changes
        """Never call back."""
        return lambda: None
