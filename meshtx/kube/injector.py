"""What the injector answers: to pods with a proxy, to workloads with what will become of their pods.

Pods come from controllers, so their authors see no warnings: those are events on the controller, and are told of the
workload already when that is applied. A question with ``dryRun`` leaves no event behind.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, assert_never

from meshtx.kube.admission import Review, allowed, refused
from meshtx.kube.adoption import LINKERD_PREFIX, adopted, adopted_settings
from meshtx.kube.annotations import INJECT, POD_SECURITY, is_wanted
from meshtx.kube.api import KubeApi
from meshtx.kube.api_errors import Object
from meshtx.kube.events import Involved, Type
from meshtx.kube.injection import (
    Injected,
    Outcome,
    Refused,
    Skipped,
    annotations_of,
    inject,
    labels_of,
    unclear,
)
from meshtx.kube.json_patch import Json
from meshtx.kube.pod_settings import PREFIX
from meshtx.kube.sidecar import INIT, Values
from meshtx.kube.watching import Watched
from meshtx.kube.workloads import template_path

PATH = "/api/v1/namespaces"

LONGEST = 253 + 1 + 63
"""Characters of a part of a reference: an API group, a slash, and a version; a name has 253 at most."""


@dataclass(frozen=True, slots=True)
class Marks:
    """What of a namespace concerns the injector."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    @classmethod
    def read(cls, json: Object) -> Marks:
        """Return what is kept of a ``v1`` Namespace."""
        return cls(
            {key: text for key, text in labels_of(json).items() if key in {INJECT, POD_SECURITY}},
            {key: text for key, text in annotations_of(json).items() if key.startswith((PREFIX, LINKERD_PREFIX))},
        )


class Result(StrEnum):
    """What became of a question: a label of its counter."""

    INJECTED = "injected"
    SKIPPED = "skipped"
    REFUSED = "refused"
    WORKLOAD = "workload"
    FAILED = "failed"
    """Answered with HTTP 500; the log says why."""
    MALFORMED = "malformed"


class Tells(Protocol):
    """What is needed of `meshtx.kube.events.EventRecorder`."""

    def tell(self, involved: Involved, reason: str, message: str, type: Type) -> None:  # noqa: A002  # the API's word
        """Write an event."""
        ...


class Injector:
    """Answers questions.

    :param namespaces: of the cluster, followed; one that is not there yet is asked for.
    :param values: returns what is injected now.
    :param answered: called with what became of each question.
    :param adopt_linkerd: read Linkerd's annotations as ours.
    """

    def __init__(
        self,
        api: KubeApi,
        namespaces: Watched[Marks],
        values: Callable[[], Awaitable[Values]],
        events: Tells,
        answered: Callable[[Result], None],
        *,
        adopt_linkerd: bool = False,
    ) -> None:
        self._api = api
        self._namespaces = namespaces
        self._values = values
        self._events = events
        self._answered = answered
        self._adopt = adopt_linkerd

    async def pod(self, review: Review) -> bytes:
        """Answer for a pod.

        :raises MeshtxError: it cannot be answered now.
        """
        pod = self._read(review.object)
        labels = labels_of(pod)
        marks = await self._marks(review.namespace)
        if not is_wanted(labels, marks.labels):
            marks = await self._fresh(review.namespace)
        if not is_wanted(labels, marks.labels):
            self._answered(Result.SKIPPED)  # an API server that knows no matchConditions (before 1.28) shows every pod
            return allowed(review)
        outcome = await self._outcome(pod, review.namespace, marks)
        match outcome:
            case Injected(meshed, warnings):
                self._answered(Result.INJECTED)
                return self._let(review, (*warnings, *_forbidden(marks)), meshed)
            case Skipped(_, warnings):
                self._answered(Result.SKIPPED)
                return self._let(review, warnings)
            case Refused(problem):
                self._answered(Result.REFUSED)
                return refused(review, f"meshtx: {problem}")
            case _:
                assert_never(outcome)

    async def workload(self, review: Review) -> bytes:
        """Answer for what makes pods: warnings alone.

        :raises MeshtxError: as for `pod`.
        """
        self._answered(Result.WORKLOAD)
        marks = await self._marks(review.namespace)
        template = self._read(template_of(review.object))
        warnings = [*_misplaced(review.object, template), *unclear(template)]
        if is_wanted(labels_of(template), marks.labels):
            outcome = await self._outcome(template, review.namespace, marks)
            warnings += [text for text in _of_pods(outcome, marks) if text not in warnings]
        return allowed(review, warnings=warnings)

    def _let(self, review: Review, warnings: tuple[str, ...], pod: Json | None = None) -> bytes:
        owner = _owner(review)
        if owner is not None and not review.dry_run:
            for text in warnings:
                self._events.tell(owner, "MeshtxInjection", text, Type.WARNING)
        return allowed(review, pod, warnings)

    async def _marks(self, namespace: str) -> Marks:
        """Return a namespace's marks; one that was made a moment ago may not have come to us yet."""
        known = self._namespaces.store.get(namespace) if self._namespaces.problem is None else None
        return known or await self._fresh(namespace)

    async def _fresh(self, namespace: str) -> Marks:
        return Marks.read(await self._api.get(f"{PATH}/{namespace}"))

    def _read(self, pod: Json) -> Json:
        return adopted(pod) if self._adopt else pod

    async def _outcome(self, pod: Json, namespace: str, marks: Marks) -> Outcome:
        inherited = adopted_settings(marks.annotations) if self._adopt else marks.annotations
        return inject(pod, namespace, inherited, await self._values())


def template_of(workload: Json) -> Json:
    """Return the template of a workload's pods, empty where there is none."""
    part = workload
    for key in template_path(str(workload.get("kind"))):
        part = part.get(key) or {}
    return part


def _of_pods(outcome: Outcome, marks: Marks) -> tuple[str, ...]:
    match outcome:
        case Refused(problem):
            return (f"its pods will be refused: {problem}",)
        case Injected(_, warnings):
            return (*warnings, *_forbidden(marks))
        case Skipped(_, warnings):
            return warnings
        case _:
            assert_never(outcome)


def _forbidden(marks: Marks) -> tuple[str, ...]:
    level = marks.labels.get(POD_SECURITY, "privileged")
    if level == "privileged":
        return ()
    problem = f"the namespace enforces Pod Security {level!r}, which forbids the NET_ADMIN that {INIT} needs"
    return (f"{problem}; label the namespace {POD_SECURITY}=privileged, or leave it out of the mesh",)


def _misplaced(workload: Json, template: Json) -> tuple[str, ...]:
    if INJECT in labels_of(workload) and INJECT not in labels_of(template):
        return (f"{INJECT}: a label of {workload.get('kind')} itself has no effect; label spec.template.metadata",)
    return ()


def _owner(review: Review) -> Involved | None:
    """Return what made the pod, if a controller did."""
    references = (review.object.get("metadata") or {}).get("ownerReferences") or ()
    for each in references:
        if each.get("controller"):
            version, kind, name, uid = (each.get(key, "") for key in ("apiVersion", "kind", "name", "uid"))
            if all(map(_may_be, (version, kind, name, uid))):
                return Involved(version, kind, review.namespace, name, uid)
    return None


def _may_be(text: object) -> bool:
    """Say whether it may be a part of a reference: it may come from anybody, and is kept with what was told of it."""
    return isinstance(text, str) and len(text) <= LONGEST
