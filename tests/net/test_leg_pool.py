"""The pool of legs: which leg a connection gets, which ones are kept, and for how long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from meshtx.net.leg_book import Retirement
from meshtx.net.leg_client import LegClient
from meshtx.net.leg_pool import AGE, IDLE, MAX_IDLE, MAX_SPARES, LegPool, Peer
from meshtx.wire.address import Address
from meshtx.wire.leg_frames import Accept, Data, Fin, Frame, Open, Refuse, Reset, Retire, encode
from tests.net.certificates import VOTING, WEB
from tests.net.leg_ends import Below, HalfApp

A, B = (Peer(Address.parse("10.1.0.9:4143"), name) for name in (VOTING, WEB))
SETTLE = 0.02


class Counts:
    """What a pool has counted."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self._idle: Callable[[], int] = int

    def opened(self) -> None:
        self.done["opened"] += 1

    def reused(self) -> None:
        self.done["reused"] += 1

    def replayed(self) -> None:
        self.done["replayed"] += 1

    def idle(self, number: Callable[[], int]) -> None:
        self._idle = number

    @property
    def idle_now(self) -> int:
        return self._idle()

    def retired(self, why: Retirement) -> None:
        self.done[why.value] += 1


class PoolCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.counts = Counts()
        self.wanted: list[tuple[Peer, Deferred[LegClient]]] = []
        self.pool = LegPool(self.clock, self.connect, self.counts, SETTLE)

    def connect(self, peer: Peer) -> Deferred[LegClient]:
        self.wanted.append((peer, Deferred()))
        return self.wanted[-1][1]

    def provide(self, expires: datetime | None = None) -> LegClient:
        """Make the spare leg that is wanted."""
        peer, wanted = self.wanted[-1]
        leg = self.pool.leg(peer, expires, self.pool.epoch, wanted.callback)
        leg.makeConnection(Below())
        return leg

    def begin(self, peer: Peer = A, expires: datetime | None = None, epoch: int | None = None) -> LegClient:
        """Return a new leg with a connection, as after a handshake."""
        epoch = self.pool.epoch if epoch is None else epoch
        leg = self.pool.leg(peer, expires, epoch, lambda leg: leg.open(Open(80), HalfApp()))
        leg.makeConnection(Below())
        self.say(leg, Accept())
        return leg

    def finish(self, *legs: LegClient) -> None:
        """End their connections in order."""
        for leg in legs:
            self.say(leg, Fin())
            assert leg._stream is not None
            leg._stream.loseConnection()
            self.clock.advance(0)

    def used(self, peer: Peer = A) -> LegClient:
        """Return a leg that has carried a connection."""
        leg = self.begin(peer)
        self.finish(leg)
        return leg

    def take(self, peer: Peer = A) -> LegClient | None:
        """Connect; return the leg that has got it."""
        before = set(self.pool.resting)
        if not self.pool.carry(peer, Open(81), HalfApp()):
            return None
        [leg] = before - set(self.pool.resting)
        self.say(leg, Accept())
        return leg

    def say(self, leg: LegClient, *frames: Frame) -> None:
        leg.dataReceived(b"".join(map(encode, frames)))

    def lose(self, *legs: LegClient) -> None:
        for leg in legs:
            leg.connectionLost(Failure(ConnectionLost()))

    def closed(self, leg: LegClient) -> bool:
        return leg.below.done[-1] == "lose"  # type: ignore[attr-defined]

    def retired(self) -> dict[str, int]:
        return {why: number for why, number in self.counts.done.items() if why in {each.value for each in Retirement}}


class TakeTests(PoolCase):
    def test_the_next_connection_to_the_same_peer_takes_the_leg(self) -> None:
        self.assertIsNone(self.take())
        leg = self.used()
        self.assertEqual((self.counts.idle_now, self.take(B)), (1, None))
        self.assertIs(self.take(), leg)
        self.assertEqual(self.counts.done, {"opened": 1, "reused": 1})
        self.assertEqual(self.counts.idle_now, 0)
        self.assertIsNone(self.take())

    def test_a_connection_asks_at_once(self) -> None:
        leg, app = self.used(), HalfApp()
        leg.below.take()  # type: ignore[attr-defined]
        self.assertTrue(self.pool.carry(A, Open(81), app))
        self.assertEqual(leg.below.take(), [Open(81), "resume"])  # type: ignore[attr-defined]
        app.transport.write(b"at once")
        self.assertEqual(leg.below.take(), [Data(b"at once")])  # type: ignore[attr-defined]

    def test_the_last_one_used_is_taken_first(self) -> None:
        first, second = self.begin(), self.begin()
        self.finish(second, first)
        self.assertIs(self.take(), first)
        self.assertIs(self.take(), second)

    def test_a_leg_that_ended_with_its_connection_is_not_kept(self) -> None:
        for frame in (Refuse("no_rule"), Reset()):
            leg = self.pool.leg(A, None, 0, lambda leg: leg.open(Open(80), HalfApp()))
            leg.makeConnection(Below())
            self.say(leg, frame)
            self.assertIsNone(self.take())
            self.lose(leg)
        self.assertEqual(self.retired(), {"connection": 2})

    def test_a_leg_that_dies_while_it_waits_is_not_taken(self) -> None:
        for die in (lambda leg: self.say(leg, Reset()), LegClient.readConnectionLost):
            leg = self.used()
            die(leg)
            self.assertIsNone(self.take())
            self.lose(leg)
        self.assertEqual((self.retired(), self.counts.idle_now), ({"peer": 2}, 0))

    def test_a_connection_that_meets_a_dead_leg_goes_on_over_another(self) -> None:
        leg, app = self.used(), HalfApp()
        self.pool.carry(A, Open(81), app)
        app.transport.write(b"whole")
        leg.readConnectionLost()
        self.assertEqual((self.counts.done["replayed"], app.take()), (1, ["made"]))
        [(peer, wanted)] = self.wanted
        another = self.pool.leg(peer, None, 0, wanted.callback)
        another.makeConnection(Below())
        self.assertEqual(another.below.take(), [Open(81), Data(b"whole")])  # type: ignore[attr-defined]
        self.say(another, Accept())
        self.finish(another)
        self.assertIs(self.take(), another)


class RetireTests(PoolCase):
    def test_new_credentials_close_the_idle_ones_and_keep_those_in_use_from_being_used_again(self) -> None:
        idle, busy = self.begin(), self.begin()
        self.finish(idle)
        self.pool.renew()
        self.assertEqual((self.closed(idle), self.closed(busy), self.take()), (True, False, None))
        self.finish(busy)
        self.assertTrue(self.closed(busy))
        self.assertIsNone(self.take())
        self.lose(idle, busy)
        self.assertEqual(self.retired(), {"credentials": 2})

    def test_a_handshake_that_new_credentials_crossed_gives_a_leg_for_one_connection(self) -> None:
        epoch = self.pool.epoch
        self.pool.renew()
        leg = self.begin(epoch=epoch)
        self.finish(leg)
        self.assertTrue(self.closed(leg))

    def test_unused_it_is_closed_after_its_time(self) -> None:
        leg = self.used()
        self.clock.advance(IDLE - 0.1)
        self.assertFalse(self.closed(leg))
        self.assertIs(self.take(), leg)
        self.clock.advance(1)
        self.finish(leg)
        self.clock.advance(IDLE - 0.1)
        self.assertFalse(self.closed(leg))
        self.clock.advance(0.1)
        self.assertTrue(self.closed(leg))
        self.assertIsNone(self.take())
        self.lose(leg)
        self.assertEqual(self.retired(), {"idle": 1})

    def test_in_use_past_that_it_is_lost_with_its_connection(self) -> None:
        leg = self.used()
        self.clock.advance(IDLE - 0.1)
        self.assertIs(self.take(), leg)
        self.clock.advance(1)
        self.lose(leg)
        self.assertEqual(self.retired(), {"connection": 1})

    def test_it_is_closed_at_its_age(self) -> None:
        waiting, working = self.begin(), self.begin()
        self.clock.advance(AGE - 10)
        self.finish(waiting)
        self.clock.advance(9.9)
        self.assertFalse(self.closed(waiting))
        self.clock.advance(0.1)
        self.assertTrue(self.closed(waiting))
        self.finish(working)
        self.assertTrue(self.closed(working))
        self.lose(waiting, working)
        self.assertEqual(self.retired(), {"age": 2})

    def test_it_is_closed_when_the_peers_certificate_expires(self) -> None:
        expires = datetime.fromtimestamp(self.clock.seconds(), UTC) + timedelta(seconds=5)
        waiting, working = self.begin(expires=expires), self.begin(expires=expires)
        self.finish(waiting)
        self.clock.advance(4.9)
        self.assertFalse(self.closed(waiting))
        self.clock.advance(0.2)
        self.assertTrue(self.closed(waiting))
        self.finish(working)
        self.assertTrue(self.closed(working))
        self.lose(waiting, working)
        self.assertEqual(self.retired(), {"certificate_expired": 2})

    def test_the_server_may_retire_it_idle_or_in_use(self) -> None:
        idle, busy = self.begin(), self.begin()
        self.finish(idle)
        self.say(idle, Retire())
        self.say(busy, Retire())
        self.assertEqual((self.closed(idle), self.closed(busy), self.take()), (True, False, None))
        self.finish(busy)
        self.assertTrue(self.closed(busy))
        self.assertIsNone(self.take())
        self.lose(idle, busy)
        self.assertEqual(self.retired(), {"peer": 2})

    def test_past_the_bound_the_one_that_waited_longest_is_closed(self) -> None:
        legs = [self.begin(peer) for peer in (A, *[B] * MAX_IDLE)]
        self.finish(*legs)
        self.assertEqual([self.closed(leg) for leg in legs], [True] + [False] * MAX_IDLE)
        self.lose(legs[0])
        self.assertEqual((self.retired(), self.counts.idle_now), ({"limit": 1}, MAX_IDLE))

    def test_a_pool_that_stops_closes_the_idle_ones_and_waits_for_all(self) -> None:
        idle, busy = self.begin(), self.begin()
        self.finish(idle)
        held: list[object] = []
        released: list[object] = []
        self.pool.stop(SimpleNamespace(hold=held.append, release=released.append))
        self.assertEqual((self.closed(idle), self.closed(busy), held), (True, False, [idle, busy]))
        late = self.begin()
        self.finish(busy, late)
        self.assertTrue(self.closed(busy) and self.closed(late))
        self.lose(idle, busy, late)
        self.assertEqual((held, released), ([idle, busy, late], held))
        self.assertEqual((self.retired(), self.clock.getDelayedCalls()), ({"stopping": 3}, []))

    def test_nothing_is_left_of_a_peer_that_is_not_used_any_more(self) -> None:
        legs = [self.begin() for _ in range(3)]
        self.finish(*legs)
        self.clock.advance(IDLE)
        self.lose(*legs)
        self.clock.advance(IDLE)
        self.assertEqual((self.pool._peers, self.pool.legs, self.clock.getDelayedCalls()), ({}, {}, []))


class SpareTests(PoolCase):
    def test_while_the_only_leg_is_in_use_another_is_opened(self) -> None:
        self.begin()
        self.clock.advance(SETTLE)
        self.assertEqual([peer for peer, _ in self.wanted], [A])
        spare = self.provide()
        self.assertEqual(self.counts.idle_now, 1)
        self.assertIs(self.take(), spare)
        self.assertEqual(self.counts.done, {"opened": 2})
        self.clock.advance(SETTLE)
        self.assertEqual(len(self.wanted), 2)

    def test_a_connection_that_is_over_soon_needs_none(self) -> None:
        leg = self.begin()
        self.clock.advance(SETTLE / 2)
        self.finish(leg)
        for _ in range(5):
            self.clock.advance(SETTLE / 2)
            self.assertIs(self.take(), leg)
            self.finish(leg)
        self.assertEqual(self.wanted, [])

    def test_new_credentials_have_a_new_one_opened_to_a_peer_in_recent_use(self) -> None:
        self.finish(self.begin())
        self.clock.advance(SETTLE)
        self.assertEqual(self.wanted, [])
        self.pool.renew()
        self.clock.advance(SETTLE)
        self.assertEqual([peer for peer, _ in self.wanted], [A])
        self.provide()
        self.assertIsNotNone(self.take())

    def test_a_peer_that_was_not_used_for_a_while_gets_none(self) -> None:
        self.begin()
        self.clock.advance(SETTLE)
        spare = self.provide()
        self.clock.advance(IDLE)
        self.assertTrue(self.closed(spare))
        self.lose(spare)
        self.clock.advance(IDLE)
        self.assertEqual(len(self.wanted), 1)

    def test_after_failures_it_is_tried_less_and_less_often_and_not_for_ever(self) -> None:
        self.begin()
        begun, moments = self.clock.seconds(), []
        self.clock.advance(SETTLE)
        while self.wanted:
            moments.append(round(self.clock.seconds() - begun))
            self.wanted.pop()[1].errback(ConnectionLost())
            [call] = self.clock.getDelayedCalls()
            self.clock.advance(call.getTime() - self.clock.seconds())
        self.assertEqual(moments, [0, 2, 6, 14, 30])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_that_the_peer_does_not_keep_is_a_failure(self) -> None:
        self.begin()
        self.clock.advance(SETTLE)
        self.lose(self.provide())
        self.clock.advance(1)
        self.assertEqual(len(self.wanted), 1)
        self.clock.advance(1)
        self.assertEqual(len(self.wanted), 2)

    def test_one_that_was_used_or_that_we_closed_is_none(self) -> None:
        self.lose(self.begin())
        self.clock.advance(SETTLE)
        self.assertEqual(len(self.wanted), 1)
        spare = self.provide()
        self.pool.renew()
        self.lose(spare)
        self.clock.advance(SETTLE)
        self.assertEqual(len(self.wanted), 2)

    def test_only_so_many_are_opened_at_once(self) -> None:
        for last in range(MAX_SPARES + 3):
            self.begin(Peer(Address.parse(f"10.1.0.{last}:4143"), VOTING))
        self.clock.advance(SETTLE)
        self.assertEqual(len(self.wanted), MAX_SPARES)
        self.wanted[0][1].errback(ConnectionLost())
        self.clock.advance(SETTLE)
        self.assertEqual(len(self.wanted), MAX_SPARES + 1)

    def test_a_stop_ends_the_search(self) -> None:
        self.finish(self.begin())
        self.take()
        self.begin(B)
        self.clock.advance(SETTLE)
        self.assertEqual(len(self.wanted), 2)
        self.begin(Peer(A.via, VOTING.scope.name("emojivoto", "third")))
        self.pool.stop(SimpleNamespace(hold=lambda _: None, release=lambda _: None))
        self.assertTrue(all(wanted.called for _, wanted in self.wanted))
        self.clock.advance(2 * IDLE)
        self.assertEqual(len(self.wanted), 2)
