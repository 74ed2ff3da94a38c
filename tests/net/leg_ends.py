"""What the tests of legs share: a transport that keeps what is done to it, and protocols that keep what they see."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from meshtx.net.leg_client import LegClient, Replay
from meshtx.net.legs import LegCall, LegServer
from meshtx.wire.leg_frames import Event, Frame, FrameParser, Open, encode


class Below:
    """A transport: `done` is everything that was asked of it, frames decoded."""

    def __init__(self) -> None:
        self.done: list[object] = []
        self.producer: object = None
        self._parser = FrameParser()

    def take(self) -> list[object]:
        """Return what was done since the last time."""
        done, self.done = self.done, []
        return done

    def write(self, data: bytes) -> None:
        self.done += self._parser.receive_data(data)

    def registerProducer(self, producer: object, streaming: bool) -> None:
        self.producer = producer
        self.done.append("register")

    def unregisterProducer(self) -> None:
        self.producer = None
        self.done.append("unregister")

    def pauseProducing(self) -> None:
        self.done.append("pause")

    def resumeProducing(self) -> None:
        self.done.append("resume")

    def loseConnection(self) -> None:
        self.done.append("lose")

    def abortConnection(self) -> None:
        self.done.append("abort")

    def getPeer(self) -> str:
        return "peer"

    def getHost(self) -> str:
        return "host"

    def getHandle(self) -> str:
        return "handle"


class App(Protocol):
    """Keeps what happens; does not know half-close."""

    def __init__(self) -> None:
        self.seen: list[object] = []
        self.pause_at: bytes | str | None = None

    def take(self) -> list[object]:
        seen, self.seen = self.seen, []
        return seen

    def note(self, what: object) -> None:
        self.seen.append(what)
        if what == self.pause_at:
            self.transport.pauseProducing()

    def connectionMade(self) -> None:
        self.note("made")

    def dataReceived(self, data: bytes) -> None:
        self.note(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.seen.append((type(reason.value), str(getattr(reason.value, "reason", ""))))


@implementer(IHalfCloseableProtocol)
class HalfApp(App):
    """The same, and knows half-close."""

    def readConnectionLost(self) -> None:
        self.note("eof")

    def writeConnectionLost(self) -> None:
        self.note("write lost")


class Ledger:
    """Keeps account of a leg: `told` is what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def idle(self, leg: object) -> None:
        self.told.append("idle")

    def busy(self, leg: object) -> None:
        self.told.append("busy")

    def gone(self, leg: object) -> None:
        self.told.append("gone")


def asking(request: Open, app: Protocol, clock: Any, ledger: Any = None, replay: Replay | None = None) -> LegClient:
    """Return a client's end that asks as soon as it is connected."""
    return LegClient(lambda leg: leg.open(request, app, replay), ledger or Ledger(), clock)


class LegCase(SynchronousTestCase):
    """Helpers: one end of a leg, its transport, its application."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.below = Below()
        self.app = HalfApp()
        self.opened: list[Open] = []
        self.calls: list[LegCall] = []
        self.ledger = Ledger()

    def client(self, *frames: Frame) -> LegClient:
        """Return a client that has sent OPEN and received these frames; what came of it is taken."""
        leg = asking(Open(80), self.app, self.clock, self.ledger)
        leg.makeConnection(self.below)
        self.feed(leg, *frames)
        self.below.take()
        self.app.take()
        return leg

    def server(self, *frames: Frame, accept: bool = False) -> LegServer:
        """Return a server that has received these frames."""
        leg = LegServer(self.keep, self.ledger, self.clock)
        leg.makeConnection(self.below)
        self.feed(leg, *frames)
        if accept:
            self.calls[0].accept(self.app)
        self.below.take()
        self.app.take()
        return leg

    def keep(self, opened: Open, call: LegCall) -> None:
        self.opened.append(opened)
        self.calls.append(call)

    def feed(self, leg: Protocol, *frames: Frame) -> None:
        leg.dataReceived(b"".join(encode(frame) for frame in frames))

    def lose(self, leg: Protocol, reason: Exception | None = None) -> None:
        leg.connectionLost(Failure(reason or ConnectionDone()))

    def turn(self) -> None:
        """Let what is to be done later be done."""
        self.clock.advance(0)

    def assertBelow(self, *done: Event | str) -> None:
        self.assertEqual(self.below.take(), list(done))

    def assertApp(self, *seen: object) -> None:
        self.assertEqual(self.app.take(), list(seen))


def ended(error: type[Exception] = ConnectionDone, reason: str = "") -> tuple[type[Exception], str]:
    return error, reason
