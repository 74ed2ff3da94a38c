"""Decides when to ask for a certificate, what to do with the answer, and when the present one is over.

Pure: events in, commands out. One request is under way at a time; a failure never touches the present
certificate, and once that has expired the asking goes on.

    Woken      ──▶ [Expired] [WakeAt] [Certify]
    Certified  ──▶ Swap WakeAt
    Failed     ──▶ [Expired] WakeAt
    Distrusted ──▶ [Expired] [WakeAt] [Certify]
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from meshtx.pki.credentials import Credentials
from meshtx.pki.renewal import renew_at, retry_at


@dataclass(frozen=True, slots=True)
class Woken:
    """The program has started, or the time of the last `WakeAt` has come.

    :param now: seconds since the epoch, as in every event; not before the time that was asked for.
    """

    now: float


@dataclass(frozen=True, slots=True)
class Certified:
    """The identity service has answered with credentials that verify."""

    credentials: Credentials
    now: float


@dataclass(frozen=True, slots=True)
class Failed:
    """The request has failed, in whatever way."""

    reason: str
    now: float


@dataclass(frozen=True, slots=True)
class Distrusted:
    """The present credentials do not verify against the anchors that the mesh has now."""

    now: float


Event = Woken | Certified | Failed | Distrusted


@dataclass(frozen=True, slots=True)
class Certify:
    """Ask for a certificate now."""


@dataclass(frozen=True, slots=True)
class Swap:
    """Use these credentials from now on."""

    credentials: Credentials


@dataclass(frozen=True, slots=True)
class Expired:
    """The present credentials are over: use none."""


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Send `Woken` at this time, seconds since the epoch; it replaces the one before."""

    time: float


Command = Certify | Swap | Expired | WakeAt


MIN_WAIT = 1.0
"""Seconds: an issuer about to expire gives certificates whose whole life is shorter than a request."""


class Keeper:
    """One workload's certificate.

    :param jitter: a number in [0, 1), drawn anew each time.
    """

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        self._jitter = jitter
        self._expires: float | None = None
        self._next: float | None = 0.0  # at once
        """When to ask next; ``None`` while a request is under way."""
        self._failures = 0

    def receive(self, event: Event) -> list[Command]:
        """Return what is to be done, in this order."""
        match event:
            case Woken(now):
                return [*self._expire(now), *self._ask(now)]
            case Distrusted(now):
                self._next = now if self._next is not None else None
                return [*self._expire(now), *self._ask(now)]
            case Certified(credentials, now):
                self._expires = credentials.not_after.timestamp()
                self._next = max(renew_at(now, self._expires, self._jitter()), now + MIN_WAIT)
                self._failures = 0
                return [Swap(credentials), *self._wake()]
            case Failed(_, now):
                self._next = retry_at(now, self._expires, self._failures, self._jitter())
                self._failures += 1
                return [*self._expire(now), *self._wake()]

    def _expire(self, now: float) -> list[Command]:
        if self._expires is None or now < self._expires:
            return []
        self._expires = None
        return [Expired()]

    def _ask(self, now: float) -> list[Command]:
        if self._next is None or now < self._next:
            return self._wake()
        self._next = None
        return [*self._wake(), Certify()]  # last: the answer may be there before it returns

    def _wake(self) -> list[Command]:
        times = [time for time in (self._next, self._expires) if time is not None]
        return [WakeAt(min(times))] if times else []
