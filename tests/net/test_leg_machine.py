"""Two real ends of legs and the pool above them, whatever is on its way meeting whatever else: against a plain model.

    applications ─▶ LegPool, LegClient ══ pipes that deliver when the test says so ══ LegServer ─▶ applications

The model of one connection is what was said: each byte arrives once, in order, on the connection on which it was sent
and on no other; an end is heard once, behind everything that was said, or there is a cut.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from meshtx.net.leg_client import LegClient
from meshtx.net.leg_pool import LegPool, Peer
from meshtx.net.legs import LegCall, LegMalformed, LegServer
from meshtx.wire.address import Address
from meshtx.wire.leg_frames import Open
from tests.net.certificates import VOTING
from tests.net.leg_ends import Ledger
from tests.net.test_leg_pool import SETTLE, Counts

PEER = Peer(Address.parse("10.1.0.9:4143"), VOTING)
PICK = st.integers(0, 7)
SELDOM = st.integers(0, 3)
SETTINGS = settings(max_examples=150, stateful_step_count=80, deadline=None, suppress_health_check=list(HealthCheck))


class Pipe:
    """The transport of one end: what it writes waits until it is delivered; it ends as TLS over TCP does."""

    def __init__(self) -> None:
        self.other: Pipe
        self.protocol: Any = None
        self.waiting: list[bytes | str | None] = []
        """On the way to this end; None: the other has ended its direction, ``cut``: it has reset."""
        self.paused = False
        self.ended = False
        self.peer_ended = False
        self.lost = False
        self.producer: Any = None

    def write(self, data: bytes) -> None:
        if not self.ended and data:
            self.other.waiting.append(data)

    def loseConnection(self) -> None:
        if not self.ended:
            self.ended, self.paused = True, False  # what still comes is read, and dropped
            self.other.waiting.append(None)
        if self.peer_ended:
            self.lose(ConnectionDone())

    def abortConnection(self) -> None:
        if not self.lost:
            self.other.waiting.append("cut")
            self.ended = True
            self.waiting.append("aborted")

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert self.producer is None
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    def deliver(self, size: int) -> None:
        """Hand on the next thing, of bytes at most so many."""
        what = self.waiting.pop(0)
        if self.lost:
            return
        if what in ("cut", "aborted"):
            self.lose(ConnectionLost() if what == "cut" else ConnectionAborted())
        elif what is None:
            self.peer_ended = True
            if self.ended:
                self.lose(ConnectionDone())
            else:
                self.protocol.readConnectionLost()
        else:
            assert isinstance(what, bytes)
            data, rest = what[:size], what[size:]
            if rest:
                self.waiting.insert(0, rest)
            if not self.ended:
                self.protocol.dataReceived(data)

    def lose(self, why: Exception) -> None:
        if not self.lost:
            self.lost = True
            self.protocol.connectionLost(Failure(why))

    @property
    def deliverable(self) -> bool:
        return bool(self.waiting) and (not self.paused or self.waiting[0] == "aborted")


def pipes(client: Any, server: Any) -> tuple[Pipe, Pipe]:
    one, two = Pipe(), Pipe()
    one.other, two.other = two, one
    one.protocol, two.protocol = client, server
    server.makeConnection(two)
    client.makeConnection(one)
    return one, two


@implementer(IHalfCloseableProtocol)
class App(Protocol):
    """One end of a connection: what it has said and heard."""

    def __init__(self) -> None:
        self.said = bytearray()
        self.heard = bytearray()
        self.finished = False
        self.cut = False
        self.heard_end = 0
        self.lost: Exception | None = None
        self.there = False

    def connectionMade(self) -> None:
        self.there = True

    def dataReceived(self, data: bytes) -> None:
        assert not self.heard_end, "bytes behind the end"
        assert self.lost is None
        self.heard += data

    def readConnectionLost(self) -> None:
        assert self.lost is None
        self.heard_end += 1

    def writeConnectionLost(self) -> None:
        raise AssertionError

    def connectionLost(self, reason: Failure) -> None:
        assert self.lost is None, "lost twice"
        assert isinstance(reason.value, Exception)
        self.lost = reason.value

    @property
    def open(self) -> bool:
        return self.there and self.lost is None and not self.cut


@dataclass
class Call:
    """One connection, as both applications see it."""

    number: int
    client: App = field(default_factory=App)
    server: App | None = None
    refused: bool = False
    accepted: int = 0


class Machine(RuleBasedStateMachine):
    """What may happen."""

    @initialize()
    def begin(self) -> None:
        self.clock, self.counts = Clock(), Counts()
        self.wanted: list[Deferred[LegClient]] = []
        self.pool = LegPool(self.clock, self.connect, self.counts, SETTLE)
        self.calls: list[Call] = []
        self.asked: list[tuple[Call, LegCall]] = []
        self.servers: list[LegServer] = []
        self.pipes: list[Pipe] = []
        for _ in range(2):
            self.ask()
        self.come_to_an_end()

    def connect(self, _peer: Peer) -> Deferred[LegClient]:
        self.wanted.append(Deferred())
        return self.wanted[-1]

    def join(self, made: Any) -> None:
        """Join a new leg of the pool with a server."""
        leg = self.pool.leg(PEER, None, self.pool.epoch, made)
        server = LegServer(self.opened, Ledger(), self.clock)
        self.servers.append(server)
        self.pipes += pipes(leg, server)

    def opened(self, request: Open, leg_call: LegCall) -> None:
        self.asked.append((self.calls[request.port - 1], leg_call))

    @property
    def apps(self) -> list[App]:
        return [app for call in self.calls for app in (call.client, call.server) if app is not None and app.open]

    # The client's side.

    @precondition(lambda self: len(self.calls) < 20)
    @rule()
    def ask(self) -> None:
        call = Call(len(self.calls) + 1)
        self.calls.append(call)
        request = Open(call.number)
        if not self.pool.carry(PEER, request, call.client):
            self.join(lambda leg: leg.open(request, call.client))

    @precondition(lambda self: self.wanted)
    @rule(comes=st.booleans())
    def another_leg(self, comes: bool) -> None:
        wanted = self.wanted.pop(0)
        if wanted.called:
            return
        if comes:
            self.join(wanted.callback)
        else:
            wanted.errback(ConnectionLost())

    @rule(seldom=SELDOM)
    def renew(self, seldom: int) -> None:
        if not seldom:
            self.pool.renew()

    # The server's.

    @precondition(lambda self: self.asked)
    @rule(pick=PICK, accept=st.integers(0, 4))
    def answer(self, pick: int, accept: int) -> None:
        call, leg_call = self.asked.pop(pick % len(self.asked))
        if accept:
            app = App()
            before = call.server
            leg_call.accept(app)
            if app.lost is None:
                assert before is None, "accepted twice"
                call.server = app
                call.accepted += 1
        else:
            leg_call.refuse("no_rule")
            call.refused = True

    @precondition(lambda self: self.servers)
    @rule(pick=PICK, seldom=SELDOM)
    def retire(self, pick: int, seldom: int) -> None:
        if seldom:
            return
        self.servers[pick % len(self.servers)].retire()

    @precondition(lambda self: self.servers)
    @rule(pick=PICK, reset=st.booleans())
    def server_ends_an_idle_leg(self, pick: int, reset: bool) -> None:
        """What it is not to do, and a restart does."""
        server = self.servers[pick % len(self.servers)]
        if server._stream is None and not server.below.lost:  # type: ignore[attr-defined]
            (server.below.abortConnection if reset else server.below.loseConnection)()

    # Applications.

    @precondition(lambda self: self.apps)
    @rule(pick=PICK, size=st.sampled_from([1, 3, 40_000]))
    def say(self, pick: int, size: int) -> None:
        app = self.apps[pick % len(self.apps)]
        if not app.finished:
            number = next(call.number for call in self.calls if app in (call.client, call.server))
            data = bytes([number, *(len(app.said) + at & 0xFF for at in range(1, size))])
            app.said += data
            app.transport.write(data)

    @precondition(lambda self: self.apps)
    @rule(pick=PICK, closes=st.booleans())
    def finish(self, pick: int, closes: bool) -> None:
        app = self.apps[pick % len(self.apps)]
        if not app.finished:
            app.finished = True
            if closes and app.heard_end:
                app.transport.loseConnection()
            else:
                app.transport.loseWriteConnection()

    @precondition(lambda self: self.apps)
    @rule(pick=PICK, seldom=SELDOM)
    def reset(self, pick: int, seldom: int) -> None:
        if seldom:
            return
        app = self.apps[pick % len(self.apps)]
        app.cut = True
        app.transport.abortConnection()

    @precondition(lambda self: self.apps)
    @rule(pick=PICK, stop=st.booleans())
    def pause(self, pick: int, stop: bool) -> None:
        transport = self.apps[pick % len(self.apps)].transport
        (transport.pauseProducing if stop else transport.resumeProducing)()

    # The way between.

    @precondition(lambda self: any(pipe.deliverable for pipe in self.pipes))
    @rule(pick=PICK, size=st.sampled_from([1, 5, 1 << 20]), times=st.integers(1, 3))
    def deliver(self, pick: int, size: int, times: int) -> None:
        for _ in range(times):
            ready = [pipe for pipe in self.pipes if pipe.deliverable]
            if ready:
                ready[pick % len(ready)].deliver(size)

    @precondition(lambda self: self.apps)
    @rule()
    def come_to_an_end(self) -> None:
        """Let everything arrive, be answered, and end: legs are idle then."""
        for _ in range(12):
            self.turn()
            while any(pipe.deliverable for pipe in self.pipes):
                next(pipe for pipe in self.pipes if pipe.deliverable).deliver(1 << 20)
            while self.asked:
                self.answer(0, 1)
            while self.wanted:
                self.another_leg(True)
            for app in self.apps:
                app.transport.resumeProducing()
                if not app.finished:
                    app.finished = True
                    app.transport.loseWriteConnection()

    @rule()
    def turn(self) -> None:
        self.clock.advance(0)

    @rule()
    def wait(self) -> None:
        self.clock.advance(SETTLE)

    # What holds.

    @invariant()
    def what_is_heard_was_said_on_this_connection_in_this_order(self) -> None:
        for call in getattr(self, "calls", ()):
            server = call.server or App()
            assert call.client.said.startswith(server.heard)
            assert server.said.startswith(call.client.heard)

    @invariant()
    def an_end_is_heard_once_and_behind_everything(self) -> None:
        for call in getattr(self, "calls", ()):
            for one, other in ((call.client, call.server), (call.server, call.client)):
                if one is not None and one.heard_end:
                    assert other is not None
                    assert (other.finished, one.heard, one.heard_end) == (True, other.said, 1)

    @invariant()
    def an_orderly_loss_is_one_of_both_ends(self) -> None:
        for call in getattr(self, "calls", ()):
            for one in (call.client, call.server):
                if one is not None and isinstance(one.lost, ConnectionDone) and not one.transport.disconnecting:
                    assert (one.finished, one.heard_end) == (True, 1)

    @invariant()
    def nobody_breaks_the_protocol(self) -> None:
        for app in getattr(self, "calls", ()) and [each for call in self.calls for each in (call.client, call.server)]:
            assert app is None or not isinstance(app.lost, LegMalformed), app.lost

    def teardown(self) -> None:
        """Let everything arrive: then nothing is left hanging, and what nobody cut is whole."""
        if not hasattr(self, "pool"):
            return
        self.come_to_an_end()
        for call in self.calls:
            assert call.client.lost is not None, "a connection without an end"
            assert call.accepted <= 1
            cut = call.refused or any(app is not None and app.cut for app in (call.client, call.server))
            if isinstance(call.client.lost, ConnectionDone) and not cut:
                assert call.server is not None
                assert (call.server.heard, call.client.heard) == (call.client.said, call.server.said)
                assert isinstance(call.server.lost, ConnectionDone)
        self.what_is_heard_was_said_on_this_connection_in_this_order()
        self.an_end_is_heard_once_and_behind_everything()
        self.nobody_breaks_the_protocol()


class MachineTests(SynchronousTestCase):
    def test_whatever_happens_in_whatever_order_the_model_holds(self) -> None:
        run_state_machine_as_test(Machine, settings=SETTINGS)  # type: ignore[no-untyped-call]
