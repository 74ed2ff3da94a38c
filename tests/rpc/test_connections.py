from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshtx.rpc.connections import Connections, Full, Seat


class ConnectionsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.limited = 0
        self.connections = Connections(3, self.count)
        self.evicted: list[str] = []

    def count(self) -> None:
        self.limited += 1

    def enter(self, name: str) -> Seat:
        return self.connections.enter(lambda: self.evicted.append(name))

    def test_below_the_limit_nobody_goes(self) -> None:
        for name in "abc":
            self.enter(name)
        self.assertEqual(self.evicted, [])

    def test_the_one_that_was_idle_longest_goes(self) -> None:
        a, b, _ = (self.enter(name) for name in "abc")
        a.busy()
        a.idle()
        self.enter("d")
        self.assertEqual(self.evicted, ["b"])
        b.idle()  # it is gone, whatever it says
        b.leave()
        self.enter("e")
        self.assertEqual(self.evicted, ["b", "c"])
        self.assertEqual(self.limited, 2)

    def test_who_came_in_anothers_place_goes_in_turn(self) -> None:
        names = [str(number) for number in range(10)]
        for name in names:
            self.enter(name)
        self.assertEqual(self.evicted, names[:-3])

    def test_nobody_at_work_goes(self) -> None:
        for name in "abc":
            self.enter(name).busy()
        with self.assertRaises(Full):
            self.enter("d")
        self.assertEqual((self.evicted, self.limited), ([], 1))

    def test_a_place_given_up_is_free(self) -> None:
        seats = [self.enter(name) for name in "abc"]
        for seat in seats:
            seat.busy()
        seats[0].leave()
        seats[0].leave()
        self.enter("d")
        self.assertEqual(self.evicted, [])
