"""An end of a proxied connection that tells when it has a transport, and the connections that are being served."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure

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
    """The connections that are being served; whoever stops the proxy waits for their end."""

    def __init__(self) -> None:
        self._held: dict[_Held, None] = {}
        self._waiting: list[Deferred[None]] = []

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, abort: Callable[[], None]) -> Callable[[], None]:
        """Count one more connection; return what is to be called once it has ended.

        :param abort: ends it now.
        """
        held = _Held(self, abort)
        self._held[held] = None
        return held

    def released(self, held: _Held) -> None:
        """Count one connection less, if it is not counted so already."""
        if self._held.pop(held, held) is None and not self._held:
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


class _Held:
    """A connection that is being served: an object of two fields, for there may be thousands."""

    __slots__ = ("_live", "abort")

    def __init__(self, live: Live, abort: Callable[[], None]) -> None:
        self.abort = abort
        self._live = live

    def __call__(self) -> None:
        """Count it no more: it has ended. Let go of what leads back here."""
        self.abort = _nothing
        self._live.released(self)


def _nothing() -> None:
    """Take the place of what ends a connection, once it has ended."""
