"""Programs that are restarted in place, under load: nobody is refused, and no request is lost."""

from __future__ import annotations

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
