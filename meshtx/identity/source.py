"""Where a program's credentials come from: the identity service, or files. Users see only this.

source.subscribe(lambda: use(Contexts(source.credentials, source.trust)))
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from meshtx.pki.bundle import TrustBundle
from meshtx.pki.credentials import Credentials


class ICredentialsSource(Protocol):
    """Knows this program's credentials and trust anchors, and when they change."""

    @property
    def credentials(self) -> Credentials | None:
        """The present ones; ``None`` before the first and once they have expired."""

    @property
    def trust(self) -> TrustBundle:
        """The present trust anchors."""

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call back after every change of either; return the function that ends the subscription."""

    def ready_reason(self) -> str | None:
        """Return why the program should get no traffic, ``None`` where it may."""

    def first(self) -> Deferred[Credentials]:
        """Return a new Deferred of the present credentials, or of the first that come."""


RED = 120.0
"""Seconds before the end of a certificate in which readiness is red; a third of its use where that is less."""


def lifetime_reason(credentials: Credentials | None, since: float, now: float, problem: str | None) -> str | None:
    """Return why a program with these credentials should get no traffic, ``None`` where it may.

    A failing renewal alone is no reason: what still works must not be taken out.

    :param since: when the credentials were taken into use, seconds since the epoch; `now` likewise.
    :param problem: what keeps the next credentials away.
    """
    because = f": {problem}" if problem else ""
    if credentials is None:
        return f"no valid certificate{because}"
    end = credentials.not_after.timestamp()
    if end - now > min(RED, (end - since) / 3):
        return None
    return f"the certificate expires at {credentials.not_after:%Y-%m-%d %H:%M:%S} UTC{because}"


class CredentialsService(Service):
    """What the sources share: the present values, and who wants to know of the next.

    :param wall: seconds since the epoch.
    """

    log = Logger()

    def __init__(self, trust: TrustBundle, wall: Callable[[], float], credentials: Credentials | None = None) -> None:
        self.credentials = credentials
        self.trust = trust
        self.problem: str | None = None
        """What keeps the next credentials away, ``None`` where nothing does."""
        self._wall = wall
        self._since = wall()
        self._subscribers: list[Callable[[], None]] = []
        self._waiting: list[Deferred[Credentials]] = []

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """See `ICredentialsSource.subscribe`."""
        self._subscribers.append(changed)

        def unsubscribe() -> None:
            if changed in self._subscribers:
                self._subscribers.remove(changed)

        return unsubscribe

    def ready_reason(self) -> str | None:
        """See `ICredentialsSource.ready_reason`."""
        return lifetime_reason(self.credentials, self._since, self._wall(), self.problem)

    def first(self) -> Deferred[Credentials]:
        """See `ICredentialsSource.first`."""
        deferred: Deferred[Credentials] = Deferred(self._forget)
        if self.credentials is not None:
            deferred.callback(self.credentials)
        else:
            self._waiting.append(deferred)
        return deferred

    def _forget(self, waiting: Deferred[Credentials]) -> None:
        self._waiting = [each for each in self._waiting if each is not waiting]

    def stopService(self) -> None:
        """Cancel who still waits."""
        super().stopService()
        for waiting in list(self._waiting):
            waiting.cancel()

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._wall(), UTC)

    def _publish(self, credentials: Credentials | None, trust: TrustBundle) -> None:
        """Replace both at once, then tell."""
        if credentials is not self.credentials:
            self._since = self._wall()
        self.credentials, self.trust = credentials, trust
        for changed in list(self._subscribers):
            try:
                changed()
            except Exception:  # noqa: BLE001  # one subscriber's defect must not keep the others on old credentials
                self.log.failure("a subscriber to new credentials failed")
        if credentials is not None:
            waiting, self._waiting = self._waiting, []
            for deferred in waiting:
                deferred.callback(credentials)
