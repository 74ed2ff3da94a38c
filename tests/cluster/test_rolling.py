"""Pods are replaced under load, and no request notices."""

from __future__ import annotations

import time

from tests.cluster.load_case import LoadCase
from tests.effort import EFFORT, Effort

RESTARTS = {Effort.QUICK: 1, Effort.USUAL: 2, Effort.ALL: 100}[EFFORT]
"""The bar is at 100, which take a quarter of an hour."""

REQUESTS = 500
"""At least, for each restart."""

LASTS = 6.0
"""Seconds of load for each restart, if it takes no longer: 600 requests."""


class Tale(LoadCase):
    timeout = 300 + 60 * RESTARTS

    def test_no_request_fails_while_three_replicas_are_replaced(self) -> None:
        started = time.monotonic()
        for _ in range(RESTARTS):
            self.cluster.kubectl("rollout", "restart", "-n", self.space, "deployment/server")
            self.wait_for_rollout(self.space, "server")
        took = time.monotonic() - started
        print(f"\n{RESTARTS} restarts in {took:.0f} s")
        time.sleep(max(LASTS * RESTARTS - took, 0))
        told = self.end_loads()
        self.assertGreaterEqual(sum(each.answered for each in told.values()), REQUESTS * RESTARTS)
        pods = {pod for each in told.values() for pod in each.pods}
        # the last three may have been asked nothing yet
        self.assertGreaterEqual(len(pods), 3 * RESTARTS, "not all were replaced")
