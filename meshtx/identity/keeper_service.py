"""Keeps a workload's certificate: does what `meshtx.identity.keeper` decides.

Each request takes a new key and the token as its file has it at that moment. What the service answers is
verified as a peer would verify it before it replaces anything. Time is watched on two clocks: after a
sleep the wall clock is ahead, after a correction it may be behind; whichever says that a time
has come is believed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from twisted.internet.defer import CancelledError, Deferred, TimeoutError, ensureDeferred  # noqa: A004
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from meshtx.errors import CredentialsError, MeshtxError
from meshtx.files import read_file
from meshtx.identity.certify import Certify, CertifyArguments
from meshtx.identity.keeper import (
    Certified,
    Command,
    Distrusted,
    Event,
    Expired,
    Failed,
    Keeper,
    Swap,
    WakeAt,
    Woken,
)
from meshtx.identity.keeper import Certify as Ask
from meshtx.identity.key_folder import KeyFolder
from meshtx.identity.source import CredentialsService
from meshtx.net.deadline import call_off
from meshtx.net.failures import without_frames
from meshtx.pki.bundle import TrustBundle
from meshtx.pki.credentials import Credentials
from meshtx.pki.csr import make_csr
from meshtx.pki.keys import new_key
from meshtx.pki.name import Name
from meshtx.watch import Contents, FileWatch, Reload

LONGEST_SLEEP = 60.0
"""Seconds between two looks at the clocks: a machine that slept notices after that much."""
TIMEOUT = 30.0
"""Seconds for one request, connecting included."""
MAX_TOKEN = 16 * 1024
"""Bytes of a token file."""


class Refresh(StrEnum):
    """How a request ended: the label of the counter of refreshes."""

    OK = "ok"
    ERROR = "error"


class KeeperService(CredentialsService):
    """A source of credentials (`meshtx.identity.source.ICredentialsSource`).

    :param certify: asks the identity service once.
    :param token_file: read anew for each request, sent untouched.
    :param trust: the mesh's anchors, or the file that they stand in, which is watched.
    :param key_folder: where key and certificate survive a restart, locked; without it memory alone has them.
    :param wall: seconds since the epoch; `monotonic`: seconds that nobody sets.
    :param jitter: a number in [0, 1), drawn anew each time.
    :param refreshed: called after each request.
    :param reloaded: called with what came of each change of the anchors' file.
    :raises ConfigError: the anchors' file cannot be used (when made only).
    """

    def __init__(
        self,
        name: Name,
        certify: Certify,
        token_file: Path,
        trust: TrustBundle | Path,
        clock: IReactorTime,
        *,
        key_folder: KeyFolder | None = None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        refreshed: Callable[[Refresh], None] = lambda _: None,
        reloaded: Callable[[Reload], None] = lambda _: None,
    ) -> None:
        self._watch: FileWatch[TrustBundle] | None = None
        if isinstance(trust, Path):
            self._watch = _watch_anchors(trust, self._retrust, clock, reloaded)
            trust = self._watch.load()
        super().__init__(trust, wall)
        self.identity = name
        self._certify = certify
        self._token_file = token_file
        self._clock = clock
        self._key_folder = key_folder
        self._monotonic = monotonic
        self._refreshed = refreshed
        self._jitter = jitter
        self._keeper = Keeper(jitter)
        self._request: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None
        self._due = self._due_monotonic = 0.0

    def startService(self) -> None:
        """Take up what an earlier run left, and ask."""
        super().startService()
        self._keeper = Keeper(self._jitter)
        if self._watch:
            self._watch.startService()
        present = self.credentials or self._restore()
        self._drive(Certified(present, self._wall()) if present else Woken(self._wall()))

    def stopService(self) -> None:
        """Ask no more; the credentials stay as they are."""
        super().stopService()
        if self._watch:
            self._watch.stopService()
        call_off(self._timer)
        if self._request:
            self._request.cancel()
        if self._key_folder:
            self._key_folder.unlock()

    # What the keeper is told

    def _tick(self) -> None:
        """Look at both clocks."""
        now = self._wall()
        if now >= self._due or self._monotonic() >= self._due_monotonic:
            self._drive(Woken(max(now, self._due)))
        else:
            self._sleep()

    def _retrust(self, trust: TrustBundle) -> None:
        """Use other anchors, and ask again if the present certificate is not good under them."""
        self._publish(self.credentials, trust)
        if self.credentials is None:
            return
        try:
            self.credentials.check(self.identity, trust, self._now())
        except CredentialsError as error:
            self.log.warn(
                "{name} needs another certificate, the anchors changed: {reason}", name=self.identity, reason=error
            )
            self._drive(Distrusted(self._wall()))

    async def _ask(self) -> None:
        """Make one request and tell the keeper how it ended."""
        event: Event
        try:
            credentials = await self._request_credentials()
            event = Certified(credentials, self._wall())
            self._refreshed(Refresh.OK)
        except CancelledError:
            raise
        except TimeoutError:
            event = self._failed(f"no answer from the identity service within {TIMEOUT:.0f} s")
        except MeshtxError as error:
            event = self._failed(str(without_frames(error)))
        except Exception as error:  # noqa: BLE001  # whatever it was, the present credentials stay and it is tried again
            self.log.failure("asking for a certificate failed")
            event = self._failed(f"internal error: {type(error).__name__}")
        self._request = None
        self._drive(event)

    async def _request_credentials(self) -> Credentials:
        hint = "write a token of 'meshtx token create', or mount a service account token"
        token = read_file(self._token_file, hint, MAX_TOKEN)
        key = new_key()
        arguments = CertifyArguments(self.identity, token, make_csr(key, self.identity), self.trust, self.credentials)
        answer = await self._certify(arguments).addTimeout(TIMEOUT, self._clock)
        return Credentials.from_chain(key, (answer.leaf, *answer.intermediates), self.identity, self.trust, self._now())

    def _failed(self, reason: str) -> Failed:
        if reason != self.problem:
            self.log.warn("no new certificate for {name}: {reason}", name=self.identity, reason=reason)
        self.problem = reason
        self._refreshed(Refresh.ERROR)
        return Failed(reason, self._wall())

    def _restore(self) -> Credentials | None:
        try:
            return self._key_folder.load(self.identity, self.trust, self._now()) if self._key_folder else None
        except CredentialsError as error:
            self.log.info("what the key folder holds is not used: {reason}", reason=str(error))
            return None

    # What the keeper wants

    def _drive(self, event: Event) -> None:
        if not self.running:
            return
        for command in self._keeper.receive(event):
            self._obey(command)

    def _obey(self, command: Command) -> None:
        match command:
            case Ask():
                self._request = ensureDeferred(self._ask())
                self._request.addErrback(_cancelled)
            case Swap(credentials):
                self._swap(credentials)
            case Expired():
                self.log.error(
                    "certificate of {name} has expired: {reason}",
                    name=self.identity,
                    reason=self.problem or "its renewal is still under way",
                )
                self._publish(None, self.trust)
            case WakeAt(due):
                self._due, self._due_monotonic = due, self._monotonic() + due - self._wall()
                self._sleep()

    def _swap(self, credentials: Credentials) -> None:
        self.log.info("certificate of {name} valid until {until}", name=self.identity, until=credentials.not_after)
        self.problem = None
        self._publish(credentials, self.trust)
        if self._key_folder:
            try:
                self._key_folder.store(credentials, self.trust)
            except MeshtxError as error:
                self.log.warn("key and certificate are in memory only: {reason}", reason=str(error))

    def _sleep(self) -> None:
        call_off(self._timer)
        left = min(self._due - self._wall(), self._due_monotonic - self._monotonic(), LONGEST_SLEEP)
        self._timer = self._clock.callLater(max(left, 0.0), self._tick)


def _cancelled(failure: Failure) -> None:
    failure.trap(CancelledError)


def _watch_anchors(
    path: Path, changed: Callable[[TrustBundle], None], clock: IReactorTime, reloaded: Callable[[Reload], None]
) -> FileWatch[TrustBundle]:
    def build(contents: Contents) -> TrustBundle:
        return TrustBundle.from_pem(contents[path], str(path))

    return FileWatch(
        "trust anchors",
        read=lambda: {path: read_file(path)},
        build=build,
        changed=changed,
        clock=clock,
        reloaded=reloaded,
    )
