"""The identity service's own certificate, which it issues to itself.

It is renewed as a workload's is, and at once when there is another issuer. A failure keeps the present one and
is tried again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import timedelta

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from meshtx.errors import MeshtxError
from meshtx.identity.issuer_files import Loaded
from meshtx.identity.source import CredentialsService
from meshtx.net.deadline import call_off
from meshtx.pki.authority import LIFETIME
from meshtx.pki.credentials import Credentials
from meshtx.pki.name import Name
from meshtx.pki.renewal import renew_at, retry_at

LONGEST_SLEEP = 60.0
"""Seconds between two looks at the clock: it may be set, and machines sleep."""

SHORTEST_LIFE = 10.0
"""Seconds between two certificates, however little the issuer has left."""


class OwnCertificate(CredentialsService):
    """A source of credentials (`meshtx.identity.source.ICredentialsSource`).

    :param issuer: returns the present issuer.
    :param wall: seconds since the epoch.
    :param jitter: a number in [0, 1), drawn anew each time.
    :raises MeshtxError: the first certificate cannot be issued (when made only).
    """

    def __init__(
        self,
        name: Name,
        issuer: Callable[[], Loaded],
        clock: IReactorTime,
        *,
        lifetime: timedelta = LIFETIME,
        wall: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.identity = name
        self._issuer = issuer
        self._clock = clock
        self._lifetime = lifetime
        self._wall = wall
        self._jitter = jitter
        self._attempt = 0
        self._timer: IDelayedCall | None = None
        loaded = issuer()
        super().__init__(loaded.trust, wall, self._issue(loaded))
        self._due = self._renewal()

    def startService(self) -> None:
        """Renew when it is time."""
        super().startService()
        self._look()

    def stopService(self) -> None:
        """Renew no more."""
        super().stopService()
        call_off(self._timer)

    def renew(self) -> None:
        """Issue a new certificate now; never raises."""
        loaded = self._issuer()
        try:
            credentials = self._issue(loaded)
        except MeshtxError as error:
            self._failed(str(error))
        else:
            self.problem, self._attempt = None, 0
            self._publish(credentials, loaded.trust)
            self._due = self._renewal()
            self.log.info("own certificate {name} valid until {until}", name=self.identity, until=credentials.not_after)

    def _failed(self, reason: str) -> None:
        if reason != self.problem:
            self.log.warn("no new certificate for {name} itself: {reason}", name=self.identity, reason=reason)
        self.problem = reason
        end = None if self.credentials is None else self.credentials.not_after.timestamp()
        self._due = retry_at(self._wall(), end, self._attempt, self._jitter())
        self._attempt += 1

    def _look(self) -> None:
        if self._wall() >= self._due or self._begins_later():
            self.renew()
        self._timer = self._clock.callLater(min(max(self._due - self._wall(), 0.0), LONGEST_SLEEP), self._look)

    def _begins_later(self) -> bool:
        """Say whether the clock was set back to before the present certificate, so that peers refuse it."""
        return self.credentials is not None and self._now() < self.credentials.not_before

    def _issue(self, loaded: Loaded) -> Credentials:
        return loaded.issue(self.identity, self._now(), self._lifetime)

    def _renewal(self) -> float:
        now = self._wall()
        end = now if self.credentials is None else self.credentials.not_after.timestamp()
        return max(renew_at(now, end, self._jitter()), now + SHORTEST_LIFE)
