"""The collector of garbage, asked what reference counts have not freed."""

from __future__ import annotations

import gc
from collections.abc import Collection

from twisted.trial.unittest import SynchronousTestCase


def hold_collector(case: SynchronousTestCase) -> None:
    """Have the collector wait until the test is over."""
    gc.collect()
    gc.disable()
    case.addCleanup(gc.enable)


def watch_garbage(case: SynchronousTestCase) -> None:
    """Have the collector wait, and keep in `gc.garbage` what it finds, until the test is over."""
    hold_collector(case)
    gc.set_debug(gc.DEBUG_SAVEALL)
    case.addCleanup(gc.garbage.clear)
    case.addCleanup(gc.set_debug, 0)


def living(kinds: type | tuple[type, ...], others: Collection[int] = ()) -> dict[int, object]:
    """Return what there is of these, by identity, but for others, which tests before may hold on to."""
    return {id(each): each for each in gc.get_objects() if isinstance(each, kinds) and id(each) not in others}
