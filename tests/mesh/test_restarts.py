"""Programs that are restarted in place, under load: nobody is refused, and no request is lost."""

from __future__ import annotations

from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from tests.mesh import restarts


class Tale(SynchronousTestCase):
    def test_restarts_in_place_cost_no_request(self) -> None:
        with restarts.mesh() as mesh:
            load = restarts.Load(restarts.CLIENT, mesh.port)
            try:
                done = list(mesh.restart(6))
            finally:
                results = load.end()
        self.assertEqual(done, ["identity", "web", "client"] * 2)
        self.assertEqual(set(results), {"answered"})
        self.assertGreater(results["answered"], len(done))


class TestSummary(SynchronousTestCase):
    def test_what_was_refused_is_told_apart_from_what_was_lost(self) -> None:
        refused, reset = repr(ConnectionRefusedError(111, "refused")), repr(ConnectionResetError(104, "reset"))
        results = Counter({"answered": 9, refused: 2, reset: 1})
        expected = f"9 answered, 2 refused, 1 lost\n2 times {refused}\n1 times {reset}"
        self.assertEqual(restarts.summary(results), expected)

    def test_all_were_answered(self) -> None:
        self.assertEqual(restarts.summary(Counter(answered=9)), "9 answered, 0 refused, 0 lost")
