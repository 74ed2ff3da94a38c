"""Makes and renews the certificate of what API servers call, and has them believe it.

    look: make what is due ─▶ read the registration ─▶ write its bundles, if they are not as wanted ─▶ look again

The registration is the object that tells API servers whom to call and believe: the webhook's configuration, an
APIService. Every replica of the program writes it, and only as it was read (resourceVersion): where two write, one of
them is refused and looks again. An admission policy refuses with the same status, so who is refused reads again:

    another version than was to be written over ─▶ somebody was first: try again at once
    the same version                            ─▶ somebody does not let us: trouble, in their words

Who takes something of ours out, as `kubectl apply` may, finds it there again after the
next look.

A key is in memory alone, so there is nothing to store, and no account of ours reads a Secret. Trouble of the API is
waited out; what is served meanwhile stays.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from cryptography import x509
from twisted.internet.interfaces import IReactorTime

from meshtx.errors import CredentialsError
from meshtx.kube.api import ApiRefused, KubeApi, Object
from meshtx.kube.looking import Looking
from meshtx.kube.serving_certificate import Generation, authorities_in, generate, kept, wanted
from meshtx.kube.webhook import NAME

EVERY = 10.0
"""Seconds between two looks."""
FIRST = 1.0
"""Seconds between two looks while API servers do not believe what is served."""
SETTLE = 5.0
"""Seconds in which the bundle has a new replica's authority before that is ready. API servers follow registrations by
a watch, and have a change in less than one; who is called meanwhile are the others, so nobody waits for us."""
SWITCH = 60.0
"""Seconds in which the bundle has the next authority before its leaf is served. Here nothing is urgent: an API server
whose watch was cut is back by then."""
MAX_STEPS = 16
"""In one look; each but the last two lost against another replica, of which there are fewer."""

_PERHAPS_LATE = (409, 422)
"""Conflict; a test of the patch does not hold: perhaps somebody else was first. Admission can say both too."""


@dataclass(frozen=True, slots=True)
class Called:
    """Something of ours that API servers call, by a registration.

    :param what: it is, in words.
    :param service: that is called: its host name stands in the certificate.
    :param path: of the registration, in the API.
    :param places: returns pointers (RFC 6901) to what has the ``caBundle``s in it.
    """

    what: str
    service: str
    path: str
    places: Callable[[Object], Sequence[str]]


def _entries(configuration: Object) -> list[str]:
    return [f"/webhooks/{number}/clientConfig" for number, _ in enumerate(configuration.get("webhooks") or ())]


WEBHOOK = Called(
    "the webhook",
    NAME,
    f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{NAME}",
    _entries,
)


@dataclass(slots=True)
class Announced:
    """A generation of ours, and how far API servers are.

    :param since: the clock's seconds at which its authority was first seen in every bundle, and in all looks from
        then on; ``None``: in the last look it was not.
    :param settled: API servers have had time to take it up, or there was nobody else whom they could call.
    """

    generation: Generation
    since: float | None = None
    settled: bool = False

    def seen(self, there: bool, alone: bool, seconds: float) -> None:
        """Take what a look has shown.

        :param there: in every bundle.
        :param alone: no other replica's authority is in any.
        """
        if not there:
            self.since, self.settled = None, False
            return
        if self.since is None or seconds < self.since:  # the clock was set back
            self.since = seconds
        self.settled = self.settled or alone or seconds - self.since >= SETTLE


class ServingRotation(Looking):
    """Looks now and then, and does what is due.

    :param namespace: of the Service that API servers call.
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
        self._api = api
        self._host = f"{called.service}.{namespace}.svc"
        self._called = called
        self._now = now
        self._present = present
        self._every = every
        self._current: Announced | None = None
        self._next: Announced | None = None

    @property
    def current(self) -> Generation | None:
        """What is served."""
        return self._current.generation if self._current else None

    def ready_reason(self) -> str | None:
        """Return why API servers cannot call us now, ``None`` where they can."""
        if self._current is None:
            return self.problem or "there is no certificate yet"
        if self._now() >= self._current.generation.not_after:
            return f"the certificate has expired; {self.problem or 'the next one is on its way'}"
        if not self._current.settled:
            return self.problem or f"API servers are being told whom to believe for {self._called.what}"
        return None

    def _wait(self) -> float:
        return self._every if self._current and self._current.settled else FIRST

    async def _look(self) -> None:
        self._make()
        refused: ApiRefused | None = None
        before = ""
        for _ in range(MAX_STEPS):
            registration = await self._api.get(self._called.path)
            if refused is not None and _version(registration) == before:
                raise refused  # nobody was first
            before = _version(registration)
            places = self._called.places(registration)
            if not places:
                raise CredentialsError(f"the registration of {self._called.what} is empty: apply the manifests again")
            bundles = [_bundle(registration, place) for place in places]
            self._seen(bundles)
            bundle = wanted("".join(bundles), self._authorities(), self._now())
            if set(bundles) == {bundle}:
                self._switch()
                return
            refused = await self._write(_patch(registration, places, bundle))
        raise CredentialsError(f"others change the registration of {self._called.what} as fast as we do")

    async def _write(self, patch: list[Object]) -> ApiRefused | None:
        """Write, or return why not if perhaps somebody else was first.

        :raises ApiError: it cannot be written, whoever was first.
        """
        try:
            await self._api.patch(self._called.path, patch, "json")
        except ApiRefused as error:
            if error.status not in _PERHAPS_LATE:
                raise
            return error
        self.log.info("API servers are told whom to believe for {what}", what=self._called.what)
        return None

    def _make(self) -> None:
        """Make the first generation, or the next one if it is due."""
        if self._current is None:
            first = generate(self._host, self._now())
            self._serve(Announced(first))  # before anybody believes it: until then nobody is ready, so nobody calls
            return
        newest = self._next or self._current
        if self._now() >= newest.generation.renew_at():
            self._next = Announced(generate(self._host, self._now()))

    def _switch(self) -> None:
        """Serve the next generation if API servers believe it by now; the one before is left to expire."""
        if self._current is None or self._next is None or self._next.since is None:
            return
        expired = self._now() >= self._current.generation.not_after
        if expired or self._clock.seconds() - self._next.since >= SWITCH:
            self._serve(self._next)
            self._next = None

    def _serve(self, announced: Announced) -> None:
        self._present(announced.generation)
        self._current = announced
        until = announced.generation.not_after
        self.log.info("serving a certificate until {until:%Y-%m-%d %H:%M} UTC", until=until)

    def _authorities(self) -> list[x509.Certificate]:
        return [each.generation.authority for each in (self._current, self._next) if each is not None]

    def _seen(self, bundles: Sequence[str]) -> None:
        """Take what the registration has at this moment."""
        read = [set(kept(authorities_in(each), self._now())) for each in bundles]
        everywhere, anywhere = set.intersection(*read), set.union(*read)
        alone = anywhere <= set(self._authorities())
        for each in (self._current, self._next):
            if each is not None:
                each.seen(each.generation.authority in everywhere, alone, self._clock.seconds())


def _bundle(registration: Object, place: str) -> str:
    """Return the ``caBundle`` at a place, as text."""
    found: Any = registration
    for key in place.strip("/").split("/"):
        found = found[int(key)] if isinstance(found, list) else found.get(key) or {}
    encoded = cast("Object", found).get("caBundle") or ""
    return b64decode(encoded).decode("ascii", "replace")


def _patch(registration: Object, places: Sequence[str], bundle: str) -> list[Object]:
    """Return a patch that holds only for the registration as it was read."""
    value = b64encode(bundle.encode("ascii")).decode("ascii")
    return [
        {"op": "test", "path": "/metadata/resourceVersion", "value": _version(registration)},
        *({"op": "add", "path": f"{place}/caBundle", "value": value} for place in places),
    ]


def _version(registration: Object) -> str:
    return cast("str", registration["metadata"]["resourceVersion"])
