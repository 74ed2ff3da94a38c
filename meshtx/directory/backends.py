"""Which endpoint of a service gets a connection: of two at random the one with fewer of this proxy's open.

    find ─▶ pick ─▶ begun ─▶ ... ─▶ ended
              ▲        └─ it does not answer ─┐
              └──── again, at most `TRIES` ◀──┘   it is left alone for `COOLING`, where there are others

Two at random are as good as looking at all, and no crowd of proxies runs to the same one (M. Mitzenmacher, "The
Power of Two Choices in Randomized Load Balancing", 2001).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from meshtx.directory.target import Meshed, NoEndpoints, Target
from meshtx.pki.name import Name
from meshtx.wire.address import Address

COOLING = 5.0
"""Seconds in which an endpoint that did not answer is chosen only if there is no other."""

TRIES = 4
"""Endpoints that one connection tries at most."""


class Backends:
    """What this proxy has seen of endpoints itself, whatever services they are of.

    :param now: in seconds.
    :param rng: picks two.
    :param count_failure: called whenever an endpoint does not answer.
    """

    def __init__(self, now: Callable[[], float], rng: Random, count_failure: Callable[[], None] = lambda: None) -> None:
        self._now = now
        self._random = rng.random
        self._count_failure = count_failure
        self._open: dict[Address, int] = {}
        self._failed: dict[Address, float] = {}

    def open(self, endpoint: Address) -> int:
        """Return the number of connections that are open to it."""
        return self._open.get(endpoint, 0)

    def pick(self, ready: Sequence[Target]) -> Target:
        """Return the target for a new connection, with a choice.

        :raises NoEndpoints: none is ready.
        """
        one = self.one_of(ready)
        if one is None:
            raise NoEndpoints("the service has no endpoint that is ready")
        return _Choice(self, ready, one.address).of(one)

    def one_of(self, among: Sequence[Target]) -> Target | None:
        """Return the less loaded of two at random, ``None`` of none."""
        if self._failed:
            among = self._warm(among) or among
        if len(among) < 2:
            return among[0] if among else None
        one = int(self._random() * len(among))
        other = int(self._random() * (len(among) - 1))
        first, second = among[one], among[other + (other >= one)]  # a third of the time that `sample` takes
        return first if self.open(first.address) <= self.open(second.address) else second

    def _warm(self, among: Sequence[Target]) -> Sequence[Target]:
        """Return those that have not failed just now, and forget which did before."""
        since = self._now() - COOLING
        self._failed = {endpoint: at for endpoint, at in self._failed.items() if at > since}
        return [each for each in among if each.address not in self._failed]

    def failed(self, endpoint: Address) -> None:
        """Note that it did not answer."""
        self._failed[endpoint] = self._now()
        self._count_failure()

    def begun(self, endpoint: Address) -> None:
        """Count one connection more."""
        self._open[endpoint] = self._open.get(endpoint, 0) + 1

    def ended(self, endpoint: Address) -> None:
        """Count one less."""
        left = self._open.get(endpoint, 0) - 1
        if left > 0:
            self._open[endpoint] = left
        else:
            self._open.pop(endpoint, None)


class _Choice:
    """See `meshtx.directory.target.Choice`. Targets lead to it and it to none: no cycle is to be left."""

    def __init__(self, backends: Backends, ready: Sequence[Target], endpoint: Address) -> None:
        self._backends = backends
        self._ready = ready
        self._endpoint = endpoint
        self._tried = {endpoint}
        self._counted = False

    def of(self, target: Target) -> Target:
        """Return the target with this choice."""
        return Target(target.address, target.authority, target.security, target.opaque, self)

    def begun(self) -> None:
        """Count the connection."""
        if not self._counted:
            self._counted = True
            self._backends.begun(self._endpoint)

    def again(self, only: Name | None = None) -> Target | None:
        """Choose another endpoint, which is counted if this one was."""
        self._backends.failed(self._endpoint)
        other = self._backends.one_of(self._untried(only)) if len(self._tried) < TRIES else None
        if other is None:
            return None
        counted = self._counted
        self.ended()
        self._endpoint = other.address
        self._tried.add(other.address)
        if counted:
            self.begun()
        return self.of(other)

    def ended(self) -> None:
        """Count the connection no more."""
        if self._counted:
            self._counted = False
            self._backends.ended(self._endpoint)

    def _untried(self, only: Name | None) -> list[Target]:
        return [each for each in self._ready if each.address not in self._tried and _proves(each, only)]


def _proves(target: Target, name: Name | None) -> bool:
    return name is None or (isinstance(target.security, Meshed) and target.security.name == name)
