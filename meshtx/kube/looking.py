"""Looking at something again and again: trouble is waited out, and no defect ends it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from meshtx.errors import CredentialsError
from meshtx.kube.api import ApiError


class Looking(Service, ABC):
    """Looks at once, and from then on. What it finds is `_look`'s to keep.

    :param what: is looked at, in the log's words.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, what: str) -> None:
        self.problem: str | None = None
        """Why the last look failed, ``None`` if it did not."""
        self._clock = clock
        self._what = what
        self._running: Deferred[Any] = succeed(None)

    def startService(self) -> None:
        """Look at once, and from then on."""
        super().startService()
        self._running = ensureDeferred(self._run())
        self._running.addErrback(self._ended)

    def stopService(self) -> None:
        """Look no more."""
        super().stopService()
        self._running.cancel()

    async def look(self) -> None:
        """Look once; what keeps us from it is in `problem`, and logged when it is new."""
        try:
            await self._look()
        except CancelledError:
            raise
        except (ApiError, CredentialsError) as error:
            if str(error) != self.problem:
                self.log.warn("{what}: {reason}", what=self._what, reason=str(error))
            self.problem = str(error)
        except Exception as error:  # noqa: BLE001  # a defect must not end the looking: nobody would see it for weeks
            self.log.failure("{what}: not looked at", what=self._what)
            self.problem = f"internal error: {type(error).__name__}"
        else:
            self.problem = None

    async def _run(self) -> None:
        while self.running:
            await self.look()
            await deferLater(self._clock, self._wait())

    def _ended(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self.log.failure("{what}: no longer looked at", failure, what=self._what)

    @abstractmethod
    async def _look(self) -> None:
        """Look once.

        :raises ApiError: there is no answer.
        :raises CredentialsError: what is there cannot be used.
        """

    @abstractmethod
    def _wait(self) -> float:
        """Return the seconds until the next look."""
