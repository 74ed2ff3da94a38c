"""The collector of garbage, asked what reference counts have not freed."""

from __future__ import annotations

import gc

from twisted.trial.unittest import SynchronousTestCase


def watch_garbage(case: SynchronousTestCase) -> None:
    """Have the collector wait, and keep in `gc.garbage` what it finds, until the test is over."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    case.addCleanup(gc.enable)
    case.addCleanup(gc.garbage.clear)
    case.addCleanup(gc.set_debug, 0)
