"""The options of a twistd command, made from its configuration's declaration."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from getopt import GetoptError
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from twisted.python import usage

from meshtx import __version__
from meshtx.config_load import ProgramConfig, Setting, load, parsed, settings
from meshtx.config_values import TOML_FILE
from meshtx.errors import ConfigError, nearest

C = TypeVar("C", bound=ProgramConfig)

WRONG = 2
"""Exit status of a program that was asked wrongly."""


class ConfigOptions(usage.Options, Generic[C]):
    """Options whose result is a configuration: `config`, once they are parsed.

    A mistake of the user's ends the program in one sentence: twistd would print its own usage before it.
    """

    program_config: ClassVar[type[ProgramConfig]]
    environ: ClassVar[Mapping[str, str]] = os.environ
    config: C

    def __init__(self) -> None:
        super().__init__()
        self.flags: dict[str, str] = {}
        self._file: Path | None = None

    def opt_config(self, path: str) -> None:
        """Read this TOML file."""
        self._file = parsed(TOML_FILE, "--config", path)

    def opt_version(self) -> None:
        """Display the version and exit."""
        print(f"meshtx {__version__}")  # noqa: T201  # as usage.Options does
        raise SystemExit(0)

    def parseArgs(self, *rest: str) -> None:
        """Refuse what belongs to no option."""
        if rest:
            raise usage.UsageError(f"{rest[0]!r}: belongs to no option; write --option=value, or --option for a flag")

    def parseOptions(self, options: Any = None) -> None:
        """Parse the command line."""
        try:
            super().parseOptions(options)
        except (usage.UsageError, ConfigError) as error:
            hint = self._hint(error.__context__.opt) if isinstance(error.__context__, GetoptError) else ""
            print(f"{self.program_config.program}: {error}{hint}", file=sys.stderr)  # noqa: T201  # as usage.Options does
            raise SystemExit(WRONG) from None

    def _hint(self, option: str) -> str:
        known = [each.flag for each in settings(self.program_config)]
        return "" if f"--{option}" in known else f"; {nearest(f'--{option}', known)}"

    def postOptions(self) -> None:
        """Merge flags, environment and file."""
        self.config = load(self.program_config, self.flags, self.environ, self._file)  # type: ignore[assignment]  # C is a subclass's


def options_class(config: type[C]) -> type[ConfigOptions[C]]:
    """Return the options of the program that is configured so."""
    members: dict[str, object] = {f"opt_{each.key}": _handler(each) for each in settings(config)}
    members["opt_config"] = _config_handler(config)
    members["program_config"] = config
    members["longdesc"] = (
        "A list is written with commas, or by repeating its option. "
        "Flags win over environment variables, these over the TOML file. "
        "Relative paths start where the program is started."
    )
    return type("Options", (ConfigOptions,), members)


def _handler(each: Setting) -> Callable[..., None]:
    def switch(self: ConfigOptions[Any]) -> None:
        self.flags[each.key] = "true"

    def append(self: ConfigOptions[Any], text: str) -> None:
        self.flags[each.key] = f"{self.flags[each.key]},{text}" if each.key in self.flags else text

    def assign(self: ConfigOptions[Any], text: str) -> None:
        self.flags[each.key] = text

    handler = switch if each.kind.flag else append if each.kind.many else assign
    form = "" if each.kind.flag else f"{each.kind.form}: "
    handler.__doc__ = f"{form}{describe(each)}"
    return handler


def describe(each: Setting) -> str:
    """Return what ``--help`` says of a setting, behind the form of its value."""
    default = f"; default {each.default}" if each.default else ""
    return f"{each.help} [{each.variable}, TOML {each.key}{default}]"


def _config_handler(config: type[ProgramConfig]) -> Callable[..., None]:
    def opt_config(self: ConfigOptions[Any], path: str) -> None:
        ConfigOptions.opt_config(self, path)

    opt_config.__doc__ = f"FILE: Read this TOML file first. [{config.prefix}CONFIG]"
    return opt_config
