"""An end of a proxied connection that tells when it has a transport, and the connections that are being served."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure

from meshtx.net.leg_book import Ending
from meshtx.net.relay import RelayEnd


class End(RelayEnd):
    """A relay's end as the proxy uses it, on the accepting and on the dialling side.

    :param greeting: bytes that go out before anything else.
    :param begun: called with this once there is a transport.
    """

    def __init__(self, greeting: bytes = b"", begun: Callable[[End], None] | None = None) -> None:
        super().__init__(None, None)
        self.greeting = greeting
        self._begun = begun
        self._made: Deferred[None] | None = None
        self.gone: Callable[[], None] | None = None
        """Called if the end is lost before it is joined."""

    @property
    def made(self) -> Deferred[None]:
        """Fires once there is a transport; who provides it may fail it with why there will be none."""
        if self._made is None:
            self._made = Deferred()
            if self.transport is not None:
                self._made.callback(None)
        return self._made

    def connectionMade(self) -> None:
        """Greet, and wait for the other end."""
        super().connectionMade()
        if self.greeting:
            self.transport.write(self.greeting)
        begun, self._begun = self._begun, None  # nothing of the beginning is to last
        if begun is not None:
            begun(self)
        made, self._made = self._made, None
        if made is not None:
            made.callback(None)

    def lend(self, protocol: IProtocol) -> None:
        """Have another protocol read first what this end's transport gets."""
        self.transport.protocol = protocol  # type: ignore[attr-defined]  # of every transport, of no interface
        protocol.makeConnection(self.transport)
        self.transport.resumeProducing()

    def take_back(self) -> None:
        """Have the transport again, unread."""
        self.transport.pauseProducing()
        self.transport.protocol = self  # type: ignore[attr-defined]  # of every transport, of no interface

    def reset(self, _reason: str) -> None:
        """Reset the connection, for whatever reason."""
        self.transport.abortConnection()

    def lost_alone(self, reason: Failure) -> None:  # noqa: ARG002 - whatever it was
        """Tell whoever waits for it to be joined."""
        gone, self.gone = self.gone, None
        if gone is not None:
            gone()


class Live:
    """The connections that are being served; whoever stops the proxy waits for their end.

    :ivar ever: how many there have been.
    """

    def __init__(self) -> None:
        self.ever = 0
        self._held: dict[Ending, None] = {}
        self._waiting: list[Deferred[None]] = []

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, ending: Ending) -> None:
        """Count one more connection, or whatever is to be waited for."""
        self.ever += 1
        self._held[ending] = None

    def release(self, ending: Ending) -> None:
        """Count it no more: it has ended."""
        if self._held.pop(ending, ending) is None and not self._held:
            waiting, self._waiting = self._waiting, []
            for deferred in waiting:
                deferred.callback(None)

    def empty(self) -> Deferred[None]:
        """Return a new Deferred that fires once nothing is being served."""
        deferred: Deferred[None] = Deferred()
        if self._held:
            self._waiting.append(deferred)
        else:
            deferred.callback(None)
        return deferred

    def abort(self) -> None:
        """End every connection now, by a reset."""
        for held in list(self._held):
            held.abort()
