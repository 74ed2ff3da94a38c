"""All checks in their order, and a look at them until they pass."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from meshtx.kube.api_errors import ApiError
from meshtx.kube.checks.balancers import BALANCERS
from meshtx.kube.checks.cluster import CLUSTER, REACHED, unreached
from meshtx.kube.checks.control_plane import CONTROL_PLANE
from meshtx.kube.checks.data_plane import DATA_PLANE
from meshtx.kube.checks.install import INSTALL
from meshtx.kube.checks.outcomes import Group, Report, Result, run
from meshtx.kube.checks.policies import POLICIES
from meshtx.kube.checks.reading import Reader
from meshtx.kube.checks.trust import TRUST
from meshtx.kube.checks.webhook import WEBHOOK

BEFORE: tuple[Group, ...] = (CLUSTER, INSTALL)
AFTER: tuple[Group, ...] = (CLUSTER, CONTROL_PLANE, TRUST, WEBHOOK, DATA_PLANE, POLICIES, BALANCERS)

BETWEEN = 2.0
"""Seconds between two looks."""


async def look(reader: Reader, *, before: bool) -> Report:
    """Look once.

    :param before: nothing is installed yet.
    """
    try:
        snapshot = await (reader.before() if before else reader.installed())
    except ApiError as error:
        return Report((Result(CLUSTER.name, REACHED, unreached(error)),))
    return run(BEFORE if before else AFTER, snapshot)


async def look_until_passed(once: Callable[[], Awaitable[Report]], patience: float, clock: IReactorTime) -> Report:
    """Look until nothing has failed, or something that does not pass by itself, or the time is over.

    :param patience: seconds.
    """
    until = clock.seconds() + patience
    while (report := await once()).may_pass and clock.seconds() + BETWEEN <= until:
        await deferLater(clock, BETWEEN)
    return report
