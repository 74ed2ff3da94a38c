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
        super().__init__(None, self._lost)
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
        if self._begun is not None:
            self._begun(self)
        if self._made is not None:
            self._made.callback(None)

    def lend(self, protocol: IProtocol) -> None:
        """Have another protocol read first what this end's transport gets."""
        self.transport.protocol = protocol  # type: ignore[attr-defined]  # of every transport, of no interface
        protocol.makeConnection(self.transport)
        self.transport.resumeProducing()

    def take_back(self) -> None:
        """Have the transport again, unread."""
        self.transport.pauseProducing()
        self.transport.protocol = self  # type: ignore[attr-defined]  # of every transport, of no interface

    def _lost(self, reason: Failure) -> None:  # noqa: ARG002 - whatever it was
        gone, self.gone = self.gone, None
        if gone is not None:
            gone()


class Live:
    """The connections that are being served; whoever stops the proxy waits for their end."""

    def __init__(self) -> None:
        self._aborts: dict[object, Callable[[], None]] = {}
        self._waiting: list[Deferred[None]] = []

    def __len__(self) -> int:
        return len(self._aborts)

    def hold(self, abort: Callable[[], None]) -> Callable[[], None]:
        """Count one more connection; return what is to be called once it has ended.

        :param abort: ends it now.
        """
        token = object()
        self._aborts[token] = abort

        def release() -> None:
            if self._aborts.pop(token, None) is not None and not self._aborts:
                waiting, self._waiting = self._waiting, []
                for deferred in waiting:
                    deferred.callback(None)

        return release

    def empty(self) -> Deferred[None]:
        """Return a new Deferred that fires once nothing is being served."""
        deferred: Deferred[None] = Deferred()
        if self._aborts:
            self._waiting.append(deferred)
        else:
            deferred.callback(None)
        return deferred

    def abort(self) -> None:
        """End every connection now, by a reset."""
        for abort in list(self._aborts.values()):
            abort()
