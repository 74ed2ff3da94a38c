"""How long a proxy that is to stop takes its workload's connections: until the workload has ended, as far as is seen.

Beside a classic sidecar the kubelet tells all containers of a pod to end at once, and a workload may need others until
its last moment. The proxy sees no process of it, but it sees its connections, and whether it listens still; a moment in
which neither is there is taken for its end. Whoever stops the proxy bounds the time.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from meshtx.proxy.ends import Live

QUIET = 2.0
"""Seconds without a sign of the workload: it may have closed its listeners, and have its last words to say."""
LOOK = 0.25
"""Seconds between two looks."""


async def workload_gone(live: Live, listens: Callable[[], bool], clock: IReactorTime) -> None:
    """Return when the workload has shown itself to nobody for `QUIET`.

    :param live: the connections that are served.
    :param listens: says whether it listens.
    """
    until = clock.seconds() + QUIET
    before = live.ever
    while clock.seconds() < until:
        await deferLater(clock, LOOK)
        if live or listens() or live.ever != before:
            until = clock.seconds() + QUIET
            before = live.ever
