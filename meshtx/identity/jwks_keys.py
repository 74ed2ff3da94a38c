"""Public keys of whoever signs tokens: a JSON Web Key Set (RFC 7517), fetched anew by age and on demand.

Keys are for signatures alone, public, and of a kind that an algorithm of `ALGORITHMS` takes; others of the same
set are passed over. A set that cannot be had, or holds no such key, leaves the keys of before in use.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, Key, OKPKey, RSAKey
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, maybeDeferred  # noqa: A004
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from meshtx.errors import CredentialsError, MeshtxError
from meshtx.identity.validator import ValidatorUnavailable
from meshtx.net.deadline import call_off
from meshtx.watch import Reload

ALGORITHMS = ("RS256", "ES256", "ES384", "EdDSA")
"""What a signature may be made with (RFC 7518, RFC 8037): neither ``none`` nor a shared secret."""

MAX_KEYS = 100
"""In one set."""
MAX_AGE = 300.0
"""Seconds after which keys are fetched again, though no token asks for others."""
RETRY = (1.0, 15.0)
"""Seconds after which a failed fetch is tried again: at first, and at most; doubled each time."""
SPACING = 5.0
"""Seconds between two fetches, however many unknown keys tokens name."""
TIMEOUT = 5.0
"""Seconds for one fetch: half of what a token may take to be judged."""

_SMALLEST_RSA = 2048
"""Bits (NIST SP 800-131A)."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key of a set.

    :param key_id: its `kid`.
    :param algorithm: the only one of `ALGORITHMS` that it is used with.
    """

    key_id: str | None
    algorithm: str
    key: Key


class JwksKeys(Service):
    """Holds the present keys; fetches while it runs.

    :param where: names the set in the log and in errors.
    :param fetch: returns the set's text, now or later; raises `MeshtxError`.
    :param keys: the first ones, if they are there already.
    :param reloaded: called with what came of each fetch that changed something, or failed for a new reason.
    """

    log = Logger()

    def __init__(
        self,
        where: str,
        fetch: Callable[[], Awaitable[bytes] | bytes],
        clock: IReactorTime,
        *,
        keys: tuple[PublicKey, ...] = (),
        reloaded: Callable[[Reload], None] = lambda _: None,
    ) -> None:
        self.problem: str | None = None
        """Why the last fetch has failed, ``None`` where it has not."""
        self._where = where
        self._fetch = fetch
        self._clock = clock
        self._keys = keys
        self._reloaded = reloaded
        self._last: float | None = None
        self._fetching: Deferred[None] | None = None
        self._waiting: list[Deferred[None]] = []
        self._timer: IDelayedCall | None = None
        self._retry = RETRY[0]

    def fitting(self, key_id: str | None, algorithm: str) -> list[Key]:
        """Return the keys that a token with this header may be signed by.

        :param key_id: ``None``: the token does not say.
        """
        return [each.key for each in self._keys if key_id in (None, each.key_id) and each.algorithm == algorithm]

    def ready_reason(self) -> str | None:
        """Return why no token can be judged, ``None`` where one can."""
        return None if self._keys else f"no token keys yet: {self.problem or 'not fetched'}"

    def startService(self) -> None:
        """Fetch, and again when it is time."""
        super().startService()
        self._begin()

    def stopService(self) -> None:
        """Fetch no more; who waits is told."""
        super().stopService()
        call_off(self._timer)
        if self._fetching is not None:
            self._fetching.cancel()

    async def renew(self) -> None:
        """Wait for keys that are no older than `SPACING`.

        Once they could not be had, nobody waits before they can: it is tried again all the same, and who waits takes a
        place from others, whose keys are there. Anybody can name a key that is not.

        :raises ValidatorUnavailable: they cannot be had.
        """
        if self.problem is None:
            await self._newest()
        if self.problem is not None:
            raise ValidatorUnavailable(f"the token keys cannot be had: {self.problem}")

    async def _newest(self) -> None:
        if self._fetching is None and (self._last is None or self._clock.seconds() >= self._last + SPACING):
            self._begin()
        if self._fetching is not None:
            waiting: Deferred[None] = Deferred(self._waiting.remove)
            self._waiting.append(waiting)
            await waiting

    def _begin(self) -> None:
        call_off(self._timer)
        self._last = self._clock.seconds()
        fetching: Deferred[Any] = maybeDeferred(self._fetch)
        fetching.addTimeout(TIMEOUT, self._clock)
        fetching.addCallbacks(self._fetched, self._failed)
        self._fetching = fetching
        fetching.addBoth(self._done)

    def _fetched(self, text: bytes) -> None:
        try:
            keys = parse_keys(text)
        except CredentialsError as error:
            self._keep(str(error))
            return
        if self.problem is not None or _names(keys) != _names(self._keys):
            self.log.info("token keys from {where}: {keys}", where=self._where, keys=", ".join(_names(keys)))
            self._reloaded(Reload.OK)
        self._keys, self.problem = keys, None

    def _failed(self, failure: Failure) -> None:
        if failure.check(TimeoutError):
            self._keep(f"no answer within {TIMEOUT:g} s")
        elif failure.check(CancelledError):
            self._keep("the program stops")
        elif failure.check(MeshtxError):
            self._keep(str(failure.value))
        else:  # a defect must not end the fetching
            self.log.failure("token keys from {where} were not fetched", failure, where=self._where)
            self._keep(f"internal error: {type(failure.value).__name__}")

    def _keep(self, problem: str) -> None:
        if problem != self.problem and self.running:
            kept = "those of before stay in use" if self._keys else "no token can be judged"
            self.log.warn("token keys from {where}: {kept}: {problem}", where=self._where, kept=kept, problem=problem)
            self._reloaded(Reload.REJECTED)
        self.problem = problem

    def _done(self, _: object) -> None:
        self._fetching = None
        if self.running:
            self._timer = self._clock.callLater(self._next(), self._begin)
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)

    def _next(self) -> float:
        """Return the seconds until keys are fetched again."""
        if self.problem is None:
            self._retry = RETRY[0]
            return MAX_AGE
        retry, self._retry = self._retry, min(self._retry * 2, RETRY[1])
        return retry


def parse_keys(text: bytes) -> tuple[PublicKey, ...]:
    """Return the keys of a set that signatures can be checked with.

    :raises CredentialsError: it is no set, or has none.
    """
    try:
        entries = json.loads(text)["keys"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CredentialsError('it is no JSON Web Key Set: {"keys": [...]}') from error
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise CredentialsError(f"its 'keys' is no list of at most {MAX_KEYS}")
    keys = tuple(key for key in map(_public_key, entries) if key is not None)
    if not keys:
        raise CredentialsError(f"it holds no public key for signatures with {', '.join(ALGORITHMS)}")
    return keys


def _public_key(entry: object) -> PublicKey | None:
    if not isinstance(entry, dict) or entry.get("kty") not in ("RSA", "EC", "OKP"):
        return None
    stated = entry.get("alg")
    try:
        key = JWKRegistry.import_key({name: value for name, value in entry.items() if name != "alg"})
        key.check_use("sig")
        key.check_key_op("verify")
    except (JoseError, ValueError, TypeError, KeyError, UnsupportedAlgorithm):
        return None
    algorithm = _algorithm_of(key)
    if algorithm is None or key.is_private or stated not in (None, algorithm):
        return None
    return PublicKey(key.kid, algorithm, key)


def _algorithm_of(key: Key) -> str | None:
    """Return the one algorithm of ours that takes such a key."""
    match key:
        case RSAKey() if key.public_key.key_size >= _SMALLEST_RSA:
            return "RS256"
        case ECKey():
            return {"P-256": "ES256", "P-384": "ES384"}.get(key.curve_name)
        case OKPKey() if key.curve_name == "Ed25519":
            return "EdDSA"
        case _:
            return None


def _names(keys: tuple[PublicKey, ...]) -> list[str]:
    return [str(key.key_id)[:64] for key in keys]
