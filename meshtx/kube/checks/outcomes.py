"""What a check is, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshtx.errors import MeshtxError

if TYPE_CHECKING:
    from meshtx.kube.checks.snapshot import Snapshot


class NotKnown(MeshtxError):
    """What a check needs is not there or not known, and the message says why: the check is skipped."""


@dataclass(frozen=True, slots=True)
class Passed:
    """It is as it should be.

    :param fact: worth telling, such as a version.
    """

    fact: str = ""


@dataclass(frozen=True, slots=True)
class Skipped:
    """It was not looked at, and why."""

    note: str


@dataclass(frozen=True, slots=True)
class Warned:
    """The mesh works, but somebody should look at this.

    :param hint: what to do.
    :param objects: which ones, in a stable order; there may be many.
    """

    problem: str
    hint: str
    objects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """Something does not work, or is not safe.

    :param may_pass: it may do so by itself in a while.
    """

    problem: str
    hint: str
    objects: tuple[str, ...] = ()
    may_pass: bool = False


Outcome = Passed | Skipped | Warned | Failed


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at.

    :param name: never changes: programs know it by this.
    :param says: what is so where it passes.
    :param look: may raise `NotKnown`.
    :param fatal: where it fails, nothing that comes after it makes sense.
    """

    name: str
    says: str
    look: Callable[[Snapshot], Outcome]
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """Checks below one heading."""

    name: str
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a check."""

    group: str
    check: Check
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Report:
    """What came of all, in their order."""

    results: tuple[Result, ...]

    @property
    def passed(self) -> bool:
        """Nothing has failed."""
        return not self.of(Failed)

    @property
    def may_pass(self) -> bool:
        """Something has failed, and all of that may pass by itself."""
        failures = [each.outcome for each in self.of(Failed)]
        return bool(failures) and all(isinstance(each, Failed) and each.may_pass for each in failures)

    def of(self, kind: type[Outcome]) -> list[Result]:
        """Return the results of one kind."""
        return [each for each in self.results if isinstance(each.outcome, kind)]


def run(groups: Iterable[Group], snapshot: Snapshot) -> Report:
    """Look at everything, until something fatal has failed."""
    results = []
    for group in groups:
        for check in group.checks:
            outcome = _looked(check, snapshot)
            results.append(Result(group.name, check, outcome))
            if check.fatal and isinstance(outcome, Failed):
                return Report(tuple(results))
    return Report(tuple(results))


def _looked(check: Check, snapshot: Snapshot) -> Outcome:
    try:
        return check.look(snapshot)
    except NotKnown as error:
        return Skipped(str(error))
