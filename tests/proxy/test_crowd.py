"""A bound that sources share, on weights that stand for themselves."""

from __future__ import annotations

from ipaddress import ip_address

from twisted.trial.unittest import SynchronousTestCase

from meshtx.proxy.crowd import Bound, Crowd, Of, Place, SourceKey, source_of

A, B, C = (source_of(ip_address(f"10.0.0.{last}")) for last in (1, 2, 3))


class CrowdTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.gone: list[str] = []
        self.reached: list[Of] = []
        self.crowd = Crowd(Bound(6, 4), self.reached.append)

    def enter(self, source: SourceKey, *names: str, weight: int = 1) -> list[Place]:
        def goes(name: str) -> Place:
            return self.crowd.enter(source, lambda: self.gone.append(name), weight)

        return [goes(name) for name in names]

    def test_below_the_bounds_nobody_goes(self) -> None:
        self.enter(A, "a1", "a2", "a3", "a4")
        self.enter(B, "b1", "b2")
        self.assertEqual((self.gone, self.reached, self.crowd.taken), ([], [], 6))

    def test_past_a_sources_bound_its_own_oldest_goes(self) -> None:
        self.enter(B, "b1")
        self.enter(A, "a1", "a2", "a3", "a4", "a5", "a6")
        self.assertEqual((self.gone, self.reached, self.crowd.taken), (["a1", "a2"], [Of.SOURCE] * 2, 5))

    def test_past_the_bound_of_all_the_oldest_goes(self) -> None:
        self.enter(A, "a1", "a2", "a3")
        self.enter(B, "b1", "b2", "b3")
        self.enter(C, "c1", "c2")
        self.assertEqual((self.gone, self.reached, self.crowd.taken), (["a1", "a2"], [Of.PROXY] * 2, 6))

    def test_then_a_source_with_more_than_the_average_pays_itself(self) -> None:
        """Two sources that fill it together do not push out a third."""
        self.enter(C, "c1")
        self.enter(A, "a1", "a2")
        self.enter(B, "b1", "b2", "b3", "b4")
        self.assertEqual((self.gone, self.reached), (["b1"], [Of.PROXY]))

    def test_one_with_the_average_pays_no_more_than_others(self) -> None:
        self.enter(A, "a1", "a2", "a3", "a4")
        self.enter(B, "b1", "b2")
        self.enter(B, "b3", weight=2)  # four of eight: the oldest goes, after which it is more than the average
        self.assertEqual((self.gone, self.reached), (["a1", "b1"], [Of.PROXY] * 2))

    def test_who_has_left_is_gone_for_nobody(self) -> None:
        first, *_ = self.enter(A, "a1", "a2", "a3", "a4")
        first.leave()
        first.leave()
        self.enter(A, "a5", "a6")
        self.assertEqual((self.gone, self.crowd.taken), (["a2"], 4))

    def test_what_is_left_takes_nothing(self) -> None:
        for place in self.enter(A, "a1", "a2") + self.enter(B, "b1"):
            place.leave()
        self.assertEqual((self.crowd.taken, self.crowd._places, self.crowd._groups), (0, {}, {}))

    def test_one_that_grows_counts_for_what_it_weighs(self) -> None:
        [first] = self.enter(A, "a1", weight=0)
        self.enter(A, "a2", weight=2)
        first.weigh(1)
        first.weigh(2)
        self.assertEqual((self.gone, self.crowd.taken), ([], 4))
        self.enter(A, "a3")
        self.assertEqual((self.gone, self.crowd.taken), (["a1"], 3))
        first.weigh(4)  # it is gone, whatever it says
        self.assertEqual((self.gone, self.crowd.taken), (["a1"], 3))

    def test_one_that_is_the_oldest_can_grow_out(self) -> None:
        [only] = self.enter(A, "a1")
        only.weigh(5)
        self.assertEqual((self.gone, self.crowd.taken), (["a1"], 0))

    def test_who_has_to_go_may_leave_on_the_way(self) -> None:
        def goes() -> None:
            self.gone.append("a1")
            first.leave()

        first = self.crowd.enter(A, goes)
        self.enter(A, "a2", "a3", "a4", "a5")
        self.assertEqual((self.gone, self.crowd.taken), (["a1"], 4))

    def test_a_host_with_many_addresses_of_ipv6_is_one_source(self) -> None:
        one, same, other = (
            source_of(ip_address(ip)) for ip in ("fd00:0:0:2::1", "fd00:0:0:2:8000::1", "fd00:0:0:3::1")
        )
        self.assertEqual((one == same, one == other), (True, False))
        self.assertNotEqual(source_of(ip_address("0.0.0.1")), source_of(ip_address("0:0:0:1::")))
