"""The control plane is deleted under load, and no request notices."""

from __future__ import annotations

import time

from tests.cluster.load_case import LoadCase
from tests.effort import EFFORT, Effort

BEFORE, AFTER = 5.0, 15.0
"""Seconds of load, before the deletion and once all is ready again."""

P99_MS = 100.0
"""Of requests on new connections, on a machine that does nothing else; judged where all is tried."""


class Tale(LoadCase):
    def test_no_request_fails_while_there_is_none(self) -> None:
        time.sleep(BEFORE)
        deleted = time.monotonic()
        self.cluster.kubectl("delete", "pod", "-n", "meshtx", "--all")
        self.wait_for_rollout("meshtx")
        print(f"\nthe control plane is ready again {time.monotonic() - deleted:.1f} s after its deletion")
        time.sleep(AFTER)
        told = self.end_loads()
        if EFFORT is Effort.ALL:
            self.assertLess(told["new"].p99_ms, P99_MS)
