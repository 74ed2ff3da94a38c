"""How the checks' results are shown: lines for people, one JSON object for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import click

from meshtx import __version__
from meshtx.kube.checks.outcomes import Failed, Outcome, Passed, Report, Result, Skipped, Warned
from meshtx.observe.printable import printable

SHOWN, TOLD = 5, 100
"""Objects of one result, for people and for programs; of the others, how many there are."""
MAX_LENGTH = 512
"""Characters of one text: much of it is whatever somebody has written into an object."""

_WORDS: dict[type[Outcome], str] = {Passed: "passed", Skipped: "skipped", Warned: "warned", Failed: "failed"}
_TICKS: dict[type[Outcome], str] = {Passed: "√", Skipped: "-", Warned: "‼", Failed: "×"}
_COLOURS: dict[type[Outcome], str] = {Passed: "green", Skipped: "bright_black", Warned: "yellow", Failed: "red"}


def lines(report: Report, *, terminal: bool) -> Iterator[str]:
    """Give the lines.

    :param terminal: with ticks and colours.
    """
    for name, results in groupby(report.results, lambda each: each.group):
        yield click.style(name, bold=True) if terminal else name
        for each in results:
            yield f"  {_mark(each.outcome, terminal=terminal)} {_said(each)}"
            yield from (f"      {line}" for line in _details(each.outcome))
        yield ""
    yield _whole(report)


def _mark(outcome: Outcome, *, terminal: bool) -> str:
    kind = type(outcome)
    return click.style(_TICKS[kind], fg=_COLOURS[kind]) if terminal else f"{_WORDS[kind]:<7}"


def _said(result: Result) -> str:
    match result.outcome:
        case Passed("") | Warned() | Failed():
            return f"{result.check.name}: {result.check.says}"
        case Passed(more) | Skipped(more):
            return f"{result.check.name}: {result.check.says} ({_shown(more)})"


def _details(outcome: Outcome) -> Iterator[str]:
    if isinstance(outcome, Warned | Failed):
        yield _shown(outcome.problem) + (":" if outcome.objects else "")
        yield from (f"  {_shown(each)}" for each in outcome.objects[:SHOWN])
        if len(outcome.objects) > SHOWN:
            yield f"  and {len(outcome.objects) - SHOWN} more; -o json names them"
        yield f"hint: {outcome.hint}"


def _shown(text: str) -> str:
    return printable(_cut(text))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_LENGTH else f"{text[: MAX_LENGTH - 1]}…"


def _whole(report: Report) -> str:
    counts = [(len(report.of(kind)), word) for kind, word in _WORDS.items()]
    return ", ".join(f"{count} {word}" for count, word in counts if count)


def as_json(report: Report) -> str:
    """Return the object; docs/kubernetes.md says what is in it."""
    groups = [
        {"name": name, "checks": [_object(each) for each in results]}
        for name, results in groupby(report.results, lambda each: each.group)
    ]
    return json.dumps({"version": __version__, "passed": report.passed, "groups": groups}, indent=2)


def _object(result: Result) -> dict[str, Any]:
    outcome = result.outcome
    told: dict[str, Any] = {
        "name": result.check.name,
        "says": result.check.says,
        "result": _WORDS[type(outcome)],
    }
    match outcome:
        case Passed(fact):
            return {**told, "note": fact} if fact else told
        case Skipped(note):
            return {**told, "note": note}
        case Warned() | Failed():
            objects = [_cut(each) for each in outcome.objects[:TOLD]]
            return {
                **told,
                "problem": _cut(outcome.problem),
                "hint": outcome.hint,
                "objects": objects,
                "more_objects": max(len(outcome.objects) - TOLD, 0),
            }
