"""A connection of a declared balancer, whose first bytes are to be a PROXY header."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol, IReactorTime, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from meshtx.net.deadline import call_off
from meshtx.observe.flow import Refusal
from meshtx.proxy.work import Refused
from meshtx.wire.malformed import Malformed
from meshtx.wire.proxy_header import ProxyHeader, ProxyHeaderParser

_CUT = "the connection ended within its PROXY header"


@implementer(IHalfCloseableProtocol)
class BalancerHeader(Protocol):
    """Reads the header, and is done: whoever is called then takes the transport.

    :param arrived: called with the header and the bytes behind it.
    :param refused: called if it is malformed, cut off, or not whole in time.
    :param gone: called if the connection ends before its first byte: a balancer that asks whether the port is open.
    :param patience: seconds for the header.
    """

    transport: ITCPTransport

    def __init__(
        self,
        arrived: Callable[[ProxyHeader, bytes], None],
        refused: Callable[[Refused], None],
        gone: Callable[[], None],
        clock: IReactorTime,
        patience: float,
    ) -> None:
        self._arrived = arrived
        self._refused = refused
        self._gone = gone
        self._clock = clock
        self._patience = patience
        self._parser = ProxyHeaderParser()
        self._deadline: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Wait for the header."""
        self._deadline = self._clock.callLater(self._patience, self._late)

    def dataReceived(self, data: bytes) -> None:
        """Read on."""
        if self._deadline is None:
            return  # refused, and its bytes are nobody's
        match self._parser.receive_data(data):
            case ProxyHeader() as header:
                self._settle()
                self._arrived(header, self._parser.rest())
            case Malformed(reason):
                self._refuse(reason)
            case None:
                pass

    def readConnectionLost(self) -> None:
        """Refuse a header that ends amidst, while there is still a connection to reset; else end too."""
        if self._deadline is not None and self._parser.held:
            self._refuse(_CUT)
        else:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Nothing follows from the end of our own direction."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 - whatever it was
        """Tell that no header comes."""
        if self._deadline is None:
            return
        if self._parser.held:
            self._refuse(_CUT)
        else:
            self._settle()
            self._gone()

    def _late(self) -> None:
        self._refuse(f"no PROXY header within {self._patience:g} s")

    def _refuse(self, detail: str) -> None:
        self._settle()
        self._refused(Refused(Refusal.PROXY_HEADER, detail))

    def _settle(self) -> None:
        deadline, self._deadline = self._deadline, None
        call_off(deadline)
