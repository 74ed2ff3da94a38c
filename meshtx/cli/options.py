"""What the commands' options share: the kinds of values of the configuration, and the form of answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from meshtx.config_values import DURATION as DURATION_KIND
from meshtx.config_values import PATH as PATH_KIND
from meshtx.config_values import Kind


class KindType(click.ParamType[Any]):
    """A value of the configuration as an option's value, in the same spelling."""

    def __init__(self, kind: Kind[Any]) -> None:  # any kind: click converts by name, not by type
        self._kind = kind
        self.name = kind.form.lower()

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # click's
        """Read text; a default that is a value already passes."""
        if not isinstance(value, str):
            return value
        try:
            return self._kind.parse(value)
        except ValueError as error:
            self.fail(f"{error}; write it like {self._kind.example!r}", param, ctx)


class PathType(click.Path):
    """A path as the configuration takes it, that a shell can complete."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # click's
        """Read text."""
        return _PATH.convert(value, param, ctx)


_PATH = KindType(PATH_KIND)

DURATION = KindType(DURATION_KIND)
PATH = PathType()

OUTPUT = click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", help="The form of the answer."
)


def show(facts: Mapping[str, str], output: str) -> None:
    """Print an answer: one ``key=value`` a line, or one JSON object."""
    if output == "json":
        click.echo(json.dumps(dict(facts)))
    else:
        for key, value in facts.items():
            click.echo(f"{key}={value}")
