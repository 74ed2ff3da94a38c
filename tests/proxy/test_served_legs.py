"""The legs of other proxies to this one: bounded while idle, and told to go when they are to."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from meshtx.net.leg_book import Retirement
from meshtx.net.legs import LegServer
from meshtx.observe.metrics import Metrics
from meshtx.proxy.crowd import Bound
from meshtx.proxy.ends import Live
from meshtx.proxy.mesh_tls import MeshTls
from meshtx.proxy.served_legs import ServedLegs
from meshtx.wire.leg_frames import Fin, Open, Retire, encode
from tests.net.leg_ends import Below, HalfApp
from tests.proxy.mesh import CA, VOTING_LEAF, Source

HERE, THERE = ip_address("10.1.0.4"), ip_address("10.1.0.5")


class ServedLegsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.metrics = Clock(), Metrics()
        self.source = Source(VOTING_LEAF, CA.trust)
        self.legs = ServedLegs(self.clock, MeshTls(self.source), self.metrics, Bound(3, 2))

    def leg(self, source: Any = HERE) -> LegServer:
        leg = self.legs.leg(source, lambda _request, call: call.accept(HalfApp()))
        leg.makeConnection(Below())
        return leg

    def open(self, leg: LegServer) -> LegServer:
        leg.dataReceived(encode(Open(80)))
        return leg

    def finish(self, leg: LegServer) -> None:
        assert leg._stream is not None
        leg._stream.loseConnection()
        leg.dataReceived(encode(Fin()))

    def retired(self, leg: LegServer) -> bool:
        return Retire() in leg.below.done  # type: ignore[attr-defined]

    def idle(self) -> float:
        [value] = [
            sample.value
            for metric in self.metrics.registry.collect()
            for sample in metric.samples
            if sample.name == "meshtx_legs_idle" and sample.labels["direction"] == "inbound"
        ]
        return value

    def reasons(self) -> dict[str, float]:
        return {
            sample.labels["reason"]: sample.value
            for metric in self.metrics.registry.collect()
            for sample in metric.samples
            if sample.name == "meshtx_legs_retired_total"
        }

    def test_past_the_bound_of_its_source_the_oldest_idle_one_is_retired(self) -> None:
        busy, *legs = self.open(self.leg()), self.leg(), self.leg(), self.leg(THERE)
        self.assertEqual(self.idle(), 3)
        newest = self.leg()
        self.assertEqual([self.retired(leg) for leg in (busy, *legs, newest)], [False, True, False, False, False])
        self.finish(busy)
        self.assertEqual([self.retired(leg) for leg in (*legs, newest, busy)], [True, True, False, False, False])

    def test_past_the_bound_of_all_one_goes_too(self) -> None:
        legs = [self.leg(ip_address(f"10.1.0.{last}")) for last in range(4)]
        self.assertEqual([self.retired(leg) for leg in legs], [True, False, False, False])

    def test_one_that_was_told_to_go_and_gets_its_open_is_served(self) -> None:
        legs = [self.leg() for _ in range(3)]
        self.open(legs[0])
        self.assertEqual(legs[0].below.done[:1], [Retire()])  # type: ignore[attr-defined]
        self.assertIsNotNone(legs[0]._stream)

    def test_new_credentials_retire_all_of_them(self) -> None:
        idle, busy = self.leg(), self.open(self.leg())
        self.source.replace(VOTING_LEAF)
        self.assertEqual((self.retired(idle), self.retired(busy), self.retired(self.leg())), (True, True, False))
        idle.connectionLost(Failure(ConnectionDone()))
        self.assertEqual((self.reasons(), self.idle()), ({Retirement.CREDENTIALS.value: 1}, 1))

    def test_the_end_of_the_proxy_waits_for_them(self) -> None:
        live = Live()
        idle, busy = self.leg(), self.open(self.leg())
        self.legs.stop(live)
        late = self.leg()
        self.assertEqual([self.retired(leg) for leg in (idle, busy, late)], [True, True, True])
        self.assertEqual(len(live), 3)
        live.abort()
        self.assertEqual([leg.below.done[-1] for leg in (idle, late)], ["abort", "abort"])  # type: ignore[attr-defined]
        for leg in (idle, busy, late):
            leg.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(len(live), 0)
