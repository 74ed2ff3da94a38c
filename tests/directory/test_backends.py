"""Which endpoint a connection to a service gets."""

from __future__ import annotations

from collections import Counter
from random import Random

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshtx.directory.backends import COOLING, TRIES, Backends
from meshtx.directory.target import Choice, Meshed, NoEndpoints, Target
from meshtx.observe.flow import NoTls, NoTlsReason
from meshtx.pki.name import Name
from meshtx.wire.address import Address
from tests.directory.told import EMOJI, VOTING


def target(last: int, name: str = VOTING) -> Target:
    where = Address.parse(f"10.1.0.{last}:80")
    plain = NoTls(NoTlsReason.NOT_DISCOVERED)
    return Target(where, "voting:80", Meshed(Name.parse(name), Address(where.ip, 4143)) if name else plain)


READY = tuple(target(last) for last in range(1, 6))


class BackendsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.backends = Backends(self.clock.seconds, Random(1))

    def pick(self, *ready: Target) -> tuple[Target, Choice]:
        picked = self.backends.pick(ready or READY)
        assert picked.choice is not None
        return picked, picked.choice

    def connect(self, *ready: Target) -> tuple[Target, Choice]:
        picked, choice = self.pick(*ready)
        choice.begun()
        return picked, choice


class PickTests(BackendsCase):
    def test_the_one_that_there_is(self) -> None:
        self.assertEqual(self.pick(READY[0])[0], READY[0])

    def test_nobody(self) -> None:
        error = self.assertRaises(NoEndpoints, self.backends.pick, ())
        self.assertEqual(str(error), "the service has no endpoint that is ready")

    def test_of_two_the_one_with_fewer_connections(self) -> None:
        one, other = READY[:2]
        for _ in range(3):
            self.connect(one)
        self.assertEqual([self.connect(one, other)[0] for _ in range(3)], [other] * 3)

    def test_the_two_are_never_the_same_one(self) -> None:
        for busy in READY[:3]:
            _, choice = self.connect(busy)
            self.assertNotIn(busy, {self.pick(*READY[:3])[0] for _ in range(100)})
            choice.ended()

    def test_connections_that_last_are_spread_evenly(self) -> None:
        for _ in range(1000):
            self.connect()
        spread = [self.backends.open(each.address) for each in READY]
        self.assertEqual(sum(spread), 1000)
        self.assertLess(max(spread) - min(spread), 8, spread)

    def test_connections_that_end_at_once_go_to_all_of_them(self) -> None:
        spread = Counter(self.pick()[0].address for _ in range(1000))
        self.assertEqual(len(spread), len(READY))
        self.assertGreater(min(spread.values()), 150, spread)

    def test_looking_counts_nothing(self) -> None:
        self.pick()
        self.assertEqual(self.backends._open, {})

    def test_a_connection_counts_once_until_its_end(self) -> None:
        picked, choice = self.connect(READY[0])
        choice.begun()
        self.assertEqual(self.backends.open(picked.address), 1)
        choice.ended()
        choice.ended()
        self.assertEqual(self.backends._open, {})

    def test_of_several_each_is_counted_out_by_itself(self) -> None:
        choices = [self.connect(READY[0])[1] for _ in range(3)]
        left = []
        for choice in choices:
            choice.ended()
            left.append(self.backends.open(READY[0].address))
        self.assertEqual((left, self.backends._open), ([2, 1, 0], {}))

    def test_an_endpoint_of_two_services_counts_in_both(self) -> None:
        self.connect(READY[0])
        self.assertEqual(self.pick(READY[0], READY[1])[0], READY[1])


class AgainTests(BackendsCase):
    def test_every_endpoint_once(self) -> None:
        picked, choice = self.connect(*READY[:3])
        seen = [picked]
        while (other := choice.again()) is not None:
            self.assertIs(other.choice, choice)
            self.assertEqual(self.backends._open, {other.address: 1})
            seen.append(other)
        self.assertEqual({each.address for each in seen}, {each.address for each in READY[:3]})
        self.assertEqual(len(seen), 3)
        choice.ended()
        self.assertEqual(self.backends._open, {})

    def test_not_without_end(self) -> None:
        _, choice = self.connect()
        tries = 1
        while choice.again() is not None:
            tries += 1
        self.assertEqual(tries, TRIES)

    def test_only_one_with_the_same_name(self) -> None:
        others = [target(2, EMOJI), target(3, ""), target(4)]
        _, choice = self.connect(READY[0])
        self.assertIsNone(choice.again())
        self.backends.failed(others[2].address)  # the others are no better
        choice = self.backends.pick([READY[0]]).choice
        assert choice is not None
        choice._ready = [READY[0], *others]  # type: ignore[attr-defined]
        self.assertEqual(choice.again(Name.parse(VOTING)), others[2])
        self.assertIsNone(choice.again(Name.parse(VOTING)))

    def test_who_has_failed_is_left_alone_for_a_while(self) -> None:
        one, other = READY[:2]
        picked, choice = self.connect(one, other)
        again = choice.again()
        assert again is not None
        for _ in range(20):
            self.assertEqual(self.connect(one, other)[0].address, again.address)
        self.clock.advance(COOLING)
        self.assertEqual(self.connect(one, other)[0].address, picked.address)

    def test_if_all_have_failed_one_of_them_is_tried(self) -> None:
        _, choice = self.connect(READY[0])
        self.assertIsNone(choice.again())
        self.assertEqual(self.pick(READY[0])[0], READY[0])

    def test_failures_are_not_kept(self) -> None:
        for each in READY:
            self.backends.failed(each.address)
        self.clock.advance(COOLING)
        self.pick()
        self.assertEqual(self.backends._failed, {})
