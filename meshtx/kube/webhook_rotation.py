"""Keeps the injector's certificate in its Secret, and the API server believing it.

    look: Secret and webhook configuration ─▶ `next_step` ─▶ write one of them ─▶ look again

Both are written only as they were read (resourceVersion): where two replicas write, one of them is refused and looks
again. Trouble of the API is waited out; what is served meanwhile stays.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from meshtx.errors import CredentialsError
from meshtx.kube.api import ApiError, ApiRefused, KubeApi, Object
from meshtx.kube.webhook import NAME
from meshtx.kube.webhook_certificate import Announce, Generation, Kept, Step, Store, from_data, next_step, to_data

SECRET = "meshtx-injector-tls"  # noqa: S105  # a name
EVERY = 10.0
"""Seconds between two looks: less than a sixth of the shortest time that another replica waits for us."""
MAX_STEPS = 8
"""In one look; three are the most that there are to take at once."""

_CONFIGURATION = f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{NAME}"
_AGAIN = (409, 422)
"""Somebody else was first: conflict; a test of the patch does not hold."""


@dataclass(frozen=True, slots=True)
class _Seen:
    secret: str
    configuration: str
    since: float


class WebhookRotation(Service):
    """Looks now and then, and takes the steps that are due.

    :param namespace: of the Secret and of the Service that the API server calls.
    :param now: the time of day, aware.
    :param present: called with each generation that is to be served from then on.
    :raises CredentialsError: by `present`: that generation is not served.
    """

    log = Logger()

    def __init__(
        self,
        api: KubeApi,
        namespace: str,
        clock: IReactorTime,
        now: Callable[[], datetime],
        present: Callable[[Generation], None],
        *,
        every: float = EVERY,
    ) -> None:
        self.current: Generation | None = None
        self.problem: str | None = None
        """Why the last look failed, ``None`` if it did not."""
        self._api = api
        self._secret = f"/api/v1/namespaces/{namespace}/secrets/{SECRET}"
        self._host = f"{NAME}.{namespace}.svc"
        self._clock = clock
        self._now = now
        self._present = present
        self._every = every
        self._seen: _Seen | None = None
        self._running: Deferred[None] = succeed(None)

    def ready_reason(self) -> str | None:
        """Return why API servers cannot call us now, ``None`` where they can."""
        if self.current is None:
            return self.problem or "there is no certificate yet"
        if self._now() >= self.current.not_after:
            return f"the certificate has expired; {self.problem or 'the next one is being made'}"
        return None

    def startService(self) -> None:
        """Look at once, and from then on."""
        super().startService()
        self._running = ensureDeferred(self._run())
        self._running.addErrback(self._ended)

    def stopService(self) -> None:
        """Look no more."""
        super().stopService()
        self._running.cancel()

    def _ended(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self.log.failure("the webhook's certificate is no longer renewed", failure)

    async def _run(self) -> None:
        while self.running:
            await self.look()
            await deferLater(self._clock, self._every)

    async def look(self) -> None:
        """Take the steps that are due; what keeps us from it is in `problem`."""
        try:
            await self._look()
        except (ApiError, CredentialsError) as error:
            if str(error) != self.problem:
                self.log.warn("the webhook's certificate: {reason}", reason=str(error))
            self.problem = str(error)
        else:
            self.problem = None

    async def _look(self) -> None:
        for _ in range(MAX_STEPS):
            secret = await self._api.get(self._secret)
            configuration = await self._api.get(_CONFIGURATION)
            step = self._step(secret, configuration)
            if step is None:
                return
            try:
                await self._take(step, secret, configuration)
            except ApiRefused as error:
                if error.status not in _AGAIN:
                    raise
        raise CredentialsError("others change the Secret or the webhook's configuration as fast as we do")

    def _step(self, secret: Object, configuration: Object) -> Step:
        kept = self._read(secret)
        if kept.current is None and self.current is not None:
            return Store(Kept(self.current))  # it was emptied: what the API server believes is served on
        self._serve(kept.current)
        return next_step(kept, _bundles(configuration), self._host, self._now(), self._still(secret, configuration))

    def _read(self, secret: Object) -> Kept:
        """Return what the Secret holds; what cannot be read is nothing."""
        try:
            return from_data(secret.get("data") or {})
        except CredentialsError as error:
            self.log.warn("Secret {name}: {reason}; it is written anew", name=SECRET, reason=str(error))
            return Kept()

    def _serve(self, generation: Generation | None) -> None:
        if generation is None or (self.current is not None and generation.leaf == self.current.leaf):
            return
        self._present(generation)
        self.current = generation
        self.log.info("serving a certificate until {until:%Y-%m-%d %H:%M} UTC", until=generation.not_after)

    def _still(self, secret: Object, configuration: Object) -> float:
        """Return for how many seconds both have been as they are."""
        versions = secret["metadata"]["resourceVersion"], configuration["metadata"]["resourceVersion"]
        if self._seen is None or (self._seen.secret, self._seen.configuration) != versions:
            self._seen = _Seen(*versions, self._clock.seconds())
        return self._clock.seconds() - self._seen.since

    async def _take(self, step: Store | Announce, secret: Object, configuration: Object) -> None:
        match step:
            case Store(kept):
                await self._api.put(self._secret, {**secret, "data": to_data(kept)})
                self.log.info("Secret {name} has the certificate's next state", name=SECRET)
            case Announce(bundle):
                await self._api.patch(_CONFIGURATION, _announcement(configuration, bundle), "json")
                self.log.info("the API server is told whom to believe")


def _bundles(configuration: Object) -> frozenset[str]:
    entries = (entry.get("clientConfig") or {} for entry in configuration.get("webhooks") or ())
    return frozenset(b64decode(entry.get("caBundle") or "").decode("utf-8", "replace") for entry in entries)


def _announcement(configuration: Object, bundle: str) -> list[Object]:
    """Return a patch that holds only for the configuration as it was read."""
    version = configuration["metadata"]["resourceVersion"]
    value = b64encode(bundle.encode("ascii")).decode("ascii")
    return [
        {"op": "test", "path": "/metadata/resourceVersion", "value": version},
        *(
            {"op": "add", "path": f"/webhooks/{number}/clientConfig/caBundle", "value": value}
            for number, _ in enumerate(configuration.get("webhooks") or ())
        ),
    ]
