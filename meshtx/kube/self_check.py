"""Whether the cluster's administrator lets a program do its work: SelfSubjectAccessReview, at its start.

Everybody may ask what they are allowed (``authorization.k8s.io/v1``). What is missing is said by the rule's name and
keeps the program from being ready; so does an API server that is away. Both are tried again until all is well.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from meshtx.kube.api import ApiError, KubeApi, Object

PATH = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

RETRY = (1.0, 30.0)
"""Seconds until it is tried again: at first, and at most; doubled each time, by up to a half more or less."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Something that must be allowed.

    :param group: the API group; that of pods and services has no name.
    :param resource: with a subresource behind a slash, if any.
    :param namespace: empty: in all of them, or it has none.
    :param name: of the only object that is meant.
    """

    verb: str
    resource: str
    group: str = ""
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        resource = f"{self.resource}.{self.group}" if self.group else self.resource
        named = f" {self.name!r}" if self.name else ""
        place = f" in namespace {self.namespace}" if self.namespace else ""
        return f"{self.verb} {resource}{named}{place}"

    @property
    def missing(self) -> str:
        """What to say and to do where it is not allowed."""
        return f"this service account may not {self}: bind it to the roles of 'meshtx install'"

    def attributes(self) -> dict[str, str]:
        """Return it as a review asks for it."""
        resource, _, subresource = self.resource.partition("/")
        named = {
            "verb": self.verb,
            "group": self.group,
            "resource": resource,
            "subresource": subresource,
            "namespace": self.namespace,
            "name": self.name,
        }
        return {key: value for key, value in named.items() if value}


class IsAsked(Protocol):
    """Takes the question to the API."""

    async def post(self, path: str, body: Object, **query: str | int | bool) -> Object:
        """Create an object."""


async def missing(api: IsAsked, rules: Sequence[Rule]) -> list[Rule]:
    """Return those that are not allowed.

    :raises ApiError: there is no answer.
    """
    return [rule for rule in rules if not await _is_allowed(api, rule)]


async def _is_allowed(api: IsAsked, rule: Rule) -> bool:
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": rule.attributes()},
    }
    status = (await api.post(PATH, review)).get("status")
    return isinstance(status, dict) and status.get("allowed") is True


class SelfCheck(Service):
    """Asks until everything is allowed.

    :param rules: what the program needs.
    :param lacking: what the program is, or has not, without.
    :param jitter: a number in [0, 1), drawn anew each time.
    """

    log = Logger()

    def __init__(
        self,
        api: KubeApi,
        rules: Sequence[Rule],
        clock: IReactorTime,
        *,
        lacking: str = "not ready",
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._lacking = lacking
        self.problem: str | None = "its permissions are not checked yet"
        """Why the program cannot do its work, ``None`` once it can."""
        self._api = api
        self._rules = rules
        self._clock = clock
        self._jitter = jitter
        self._asking: Deferred[None] | None = None

    def ready_reason(self) -> str | None:
        """Return why the program is not ready, ``None`` where it is."""
        return self.problem

    def startService(self) -> None:
        """Ask."""
        super().startService()
        self._asking = Deferred.fromCoroutine(self._until_allowed())
        self._asking.addErrback(lambda failure: failure.trap(CancelledError) and None)
        self._asking.addErrback(lambda failure: self.log.failure("permissions are not checked", failure))

    def stopService(self) -> None:
        """Ask no more."""
        super().stopService()
        if self._asking is not None:
            self._asking.cancel()

    async def _until_allowed(self) -> None:
        first, longest = RETRY
        attempt = 0
        while (problem := await self._look()) is not None:
            self._say(problem)
            await deferLater(self._clock, min(first * 2**attempt, longest) * (0.5 + self._jitter()))
            attempt = min(attempt + 1, 16)
        self.problem = None
        self.log.info("the cluster allows what this program needs: {rules}", rules="; ".join(map(str, self._rules)))

    async def _look(self) -> str | None:
        try:
            lacking = await missing(self._api, self._rules)
        except ApiError as error:
            return f"the API server does not say what is allowed: {error}"
        return "; ".join(rule.missing for rule in lacking) or None

    def _say(self, problem: str) -> None:
        if problem != self.problem:
            self.log.error("{lacking}: {problem}", lacking=self._lacking, problem=problem)
        self.problem = problem
