"""Back-pressure from TCP to whoever writes into a TLS connection."""

from __future__ import annotations

from twisted.internet.interfaces import IProducer, IPushProducer
from zope.interface import implementer

from meshtx.net.tls_tcp import ITcp


@implementer(IPushProducer)
class Valve:
    """What TCP pauses when it has more than it can send: from the first byte on, with or without a producer.

    Twisted's transports pause a producer at a write only. One that registers when TCP is full
    already is paused here at once.
    """

    __slots__ = ("_producer", "_pulls", "_tcp", "full")

    def __init__(self, tcp: ITcp) -> None:
        self.full = False
        """TCP takes no more."""
        self._tcp = tcp
        self._producer: IPushProducer | None = None
        self._pulls = False

    @property
    def in_use(self) -> bool:
        """True while a producer is registered."""
        return self._producer is not None

    def open(self) -> None:
        """Let TCP say when it is full."""
        self._tcp.registerProducer(self, True)

    def shut(self) -> None:
        """Let TCP end: a paused producer would hold it open."""
        self._tcp.unregisterProducer()

    def register(self, producer: IProducer, streaming: bool) -> None:
        """Take a producer; TCP itself asks one that is not streaming for more.

        :raises RuntimeError: there is one already.
        """
        if self._producer is not None:
            raise RuntimeError(f"cannot register {producer!r}: {self._producer!r} was never unregistered")
        self._producer = producer  # type: ignore[assignment]  # one that is no push producer is only resumed
        self._pulls = not streaming
        if self._pulls:
            self.shut()
            self._tcp.registerProducer(self, False)
        elif self.full:
            self.pauseProducing()

    def unregister(self) -> None:
        """Forget the producer."""
        self._producer = None
        if self._pulls:
            self._pulls = False
            self.shut()
            self.open()

    def lost(self) -> None:
        """Stop the producer: there is nobody to write to."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()

    def pauseProducing(self) -> None:
        """TCP is full."""
        self.full = True
        if self._producer is not None:
            self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        """TCP has sent everything, or asks for more."""
        self.full = False
        if self._producer is not None:
            self._producer.resumeProducing()

    def stopProducing(self) -> None:
        """TCP is lost: told to the protocol, and then by `lost`."""
