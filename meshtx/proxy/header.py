"""Linkerd's form of a connection between proxies, on the side that takes it: a header, then the bytes."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from meshtx.net.deadline import call_off
from meshtx.observe.flow import Refusal
from meshtx.proxy.ends import End
from meshtx.proxy.work import Refused
from meshtx.wire.malformed import Malformed
from meshtx.wire.transport_header import TransportHeader, TransportHeaderParser


class HeaderEnd(End):
    """A near end that reads a transport header first, and is then like any other.

    :param arrived: called with this and the header.
    :param refused: called if none comes: in time, or at all.
    :param patience: seconds for the header.
    """

    def __init__(
        self,
        arrived: Callable[[HeaderEnd, TransportHeader], None],
        refused: Callable[[Refused], None],
        clock: IReactorTime,
        patience: float,
    ) -> None:
        super().__init__()
        self._arrived: Callable[[HeaderEnd, TransportHeader], None] | None = arrived
        self._refused: Callable[[Refused], None] | None = refused
        self._clock = clock
        self._patience = patience
        self._parser = TransportHeaderParser()
        self._deadline: IDelayedCall | None = None
        self.dataReceived = self._header_received  # type: ignore[method-assign]  # until the header is there

    def connectionMade(self) -> None:
        """Read the header."""
        super().connectionMade()
        self._deadline = self._clock.callLater(self._patience, self._late)
        self.transport.resumeProducing()

    def _header_received(self, data: bytes) -> None:
        header = self._parser.receive_data(data)
        match header:
            case TransportHeader(name=name) if name:
                self._refuse(Refusal.PROTOCOL_ERROR, f"a gateway to {name} is asked for, and this is none")
            case TransportHeader():
                arrived, rest = self._arrived, self._parser.rest()
                self._settle()
                self.transport.pauseProducing()
                if rest:
                    self.dataReceived(rest)
                if arrived is not None:
                    arrived(self, header)
            case Malformed(reason):
                self._refuse(Refusal.PROTOCOL_ERROR, reason)
            case None:
                pass

    def readConnectionLost(self) -> None:
        """An end of the stream before the header is no request."""
        if self._refused is not None:
            self._refuse(Refusal.PROTOCOL_ERROR, "the stream ended before its transport header")
        else:
            super().readConnectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Stop waiting."""
        if self._refused is not None:
            self._refuse(Refusal.PROTOCOL_ERROR, "the connection was lost before its transport header")
        super().connectionLost(reason)

    def _late(self) -> None:
        self._refuse(Refusal.PROTOCOL_ERROR, f"no transport header within {self._patience:g} s")

    def _refuse(self, reason: Refusal, detail: str) -> None:
        refused = self._refused
        self._settle()
        if refused is not None:
            refused(Refused(reason, detail))

    def _settle(self) -> None:
        """Keep nothing that was only there for the header: the connection may be long, and both lead back here."""
        self._arrived = self._refused = None
        del self.dataReceived  # from now on the relay's own
        deadline, self._deadline = self._deadline, None
        call_off(deadline)
