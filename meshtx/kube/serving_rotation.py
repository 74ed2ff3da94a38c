"""Keeps the certificate of what API servers call in its Secret, and the API server believing it.

    look: Secret and registration ─▶ `next_step` ─▶ write one of them ─▶ look again

The registration is the object that tells API servers whom to call: the webhook's configuration, an APIService.

Both are written only as they were read (resourceVersion): where two replicas write, one of them is refused and looks
again. Trouble of the API is waited out; what is served meanwhile stays.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from twisted.internet.interfaces import IReactorTime

from meshtx.errors import CredentialsError
from meshtx.kube.api import ApiRefused, KubeApi, Object
from meshtx.kube.looking import Looking
from meshtx.kube.serving_certificate import Announce, Generation, Kept, Step, Store, from_data, next_step, to_data
from meshtx.kube.webhook import NAME

EVERY = 10.0
"""Seconds between two looks: less than a sixth of the shortest time that another replica waits for us."""
FIRST = 1.0
"""Seconds between two looks while there is nothing to serve."""
MAX_STEPS = 8
"""In one look; three are the most that there are to take at once."""

_AGAIN = (409, 422)
"""Somebody else was first: conflict; a test of the patch does not hold."""


@dataclass(frozen=True, slots=True)
class Called:
    """Something of ours that API servers call, by a registration.

    :param what: it is, in words.
    :param service: that is called: its host name stands in the certificate.
    :param secret: the name of the Secret that keeps the certificate.
    :param path: of the registration, in the API.
    :param places: returns pointers (RFC 6901) to what has the ``caBundle``s in it.
    """

    what: str
    service: str
    secret: str
    path: str
    places: Callable[[Object], Sequence[str]]


def _entries(configuration: Object) -> list[str]:
    return [f"/webhooks/{number}/clientConfig" for number, _ in enumerate(configuration.get("webhooks") or ())]


SECRET = "meshtx-injector-tls"  # noqa: S105  # a name
WEBHOOK = Called(
    "the webhook",
    NAME,
    SECRET,
    f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{NAME}",
    _entries,
)


@dataclass(frozen=True, slots=True)
class _Seen:
    secret: str
    configuration: str
    since: float


class ServingRotation(Looking):
    """Looks now and then, and takes the steps that are due.

    :param namespace: of the Secret and of the Service that the API server calls.
    :param now: the time of day, aware.
    :param present: called with each generation that is to be served from then on.
    :param called: what the certificate is for.
    :raises CredentialsError: by `present`: that generation is not served.
    """

    def __init__(
        self,
        api: KubeApi,
        namespace: str,
        clock: IReactorTime,
        now: Callable[[], datetime],
        present: Callable[[Generation], None],
        *,
        called: Called = WEBHOOK,
        every: float = EVERY,
    ) -> None:
        super().__init__(clock, f"the certificate of {called.what}")
        self.current: Generation | None = None
        self._api = api
        self._secret = f"/api/v1/namespaces/{namespace}/secrets/{called.secret}"
        self._host = f"{called.service}.{namespace}.svc"
        self._called = called
        self._now = now
        self._present = present
        self._every = every
        self._seen: _Seen | None = None

    def ready_reason(self) -> str | None:
        """Return why API servers cannot call us now, ``None`` where they can."""
        if self.current is None:
            return self.problem or "there is no certificate yet"
        if self._now() >= self.current.not_after:
            return f"the certificate has expired; {self.problem or 'the next one is being made'}"
        return None

    def _wait(self) -> float:
        return FIRST if self.current is None else self._every

    async def _look(self) -> None:
        for _ in range(MAX_STEPS):
            secret = await self._api.get(self._secret)
            configuration = await self._api.get(self._called.path)
            step = self._step(secret, configuration)
            if step is None:
                return
            try:
                await self._take(step, secret, configuration)
            except ApiRefused as error:
                if error.status not in _AGAIN:
                    raise
        raise CredentialsError(f"others change the Secret or the registration of {self._called.what} as fast as we do")

    def _step(self, secret: Object, configuration: Object) -> Step:
        kept = self._read(secret)
        if kept.current is None and self.current is not None:
            return Store(Kept(self.current))  # it was emptied: what the API server believes is served on
        self._serve(kept.current)
        bundles = self._bundles(configuration)
        return next_step(kept, bundles, self._host, self._now(), self._still(secret, configuration))

    def _read(self, secret: Object) -> Kept:
        """Return what the Secret holds; what cannot be read is nothing."""
        try:
            return from_data(secret.get("data") or {})
        except CredentialsError as error:
            self.log.warn("Secret {name}: {reason}; it is written anew", name=self._called.secret, reason=str(error))
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
                self.log.info("Secret {name} has the certificate's next state", name=self._called.secret)
            case Announce(bundle):
                await self._api.patch(self._called.path, self._announcement(configuration, bundle), "json")
                self.log.info("the API server is told whom to believe")

    def _bundles(self, configuration: Object) -> frozenset[str]:
        entries = (_at(configuration, place) for place in self._called.places(configuration))
        return frozenset(b64decode(entry.get("caBundle") or "").decode("utf-8", "replace") for entry in entries)

    def _announcement(self, configuration: Object, bundle: str) -> list[Object]:
        """Return a patch that holds only for the registration as it was read."""
        version = configuration["metadata"]["resourceVersion"]
        value = b64encode(bundle.encode("ascii")).decode("ascii")
        return [
            {"op": "test", "path": "/metadata/resourceVersion", "value": version},
            *(
                {"op": "add", "path": f"{place}/caBundle", "value": value}
                for place in self._called.places(configuration)
            ),
        ]


def _at(document: Object, pointer: str) -> Object:
    """Return what a pointer leads to; what is not there is empty."""
    found: Any = document
    for key in pointer.strip("/").split("/"):
        found = found[int(key)] if isinstance(found, list) else found.get(key) or {}
    return cast("Object", found)
