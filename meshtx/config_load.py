"""Where configuration comes from: a TOML file, then the environment, then flags; the later wins.

A program's configuration is a frozen dataclass whose fields are made by `setting` and
`optional`. A field ``tap_listen`` of the program ``meshproxy`` is ``tap_listen`` in the file,
``MESHTX_PROXY_TAP_LISTEN`` in the environment and ``--tap-listen`` among the flags. An unknown key
is an error that names the nearest known one. So is a known one that is given where no other setting
makes the program read it: ``needs`` declares which one would.

In Kubernetes a pod's author may decide those that say so, by annotations (`meshtx.kube.pod_settings`).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

from meshtx.config_values import TOML_FILE, Kind
from meshtx.errors import ConfigError, nearest, unreadable
from meshtx.files import read_text

Written = Mapping[str, tuple[str, str]]
"""Texts by key, each behind the place where it is written."""

T = TypeVar("T")
C = TypeVar("C", bound="ProgramConfig")

_KIND, _HELP, _DEFAULT = "meshtx.kind", "meshtx.help", "meshtx.default"
_NEEDS, _BY_AUTHOR = "meshtx.needs", "meshtx.by-author"

_SERVICE_LINK = re.compile(r"(.+?_)(SERVICE_(HOST|PORT(_.*)?)|PORT(_\d+_(TCP|UDP|SCTP)(_.*)?)?)")
"""What Kubernetes says of a Service in its namespace's pods: ``MESHTX_IDENTITY_SERVICE_HOST`` of meshtx-identity."""


def setting(kind: Kind[T], default: str, text: str, needs: Sequence[str] = (), *, by_author: bool = False) -> T:
    """Declare a field.

    :param default: as a user would write it.
    :param text: for ``--help``.
    :param needs: the settings without which nothing reads this one: any of them, each ``key`` (it has a value) or
        ``key=value`` (it has this one). Empty: it is always read.
    :param by_author: in Kubernetes a pod's author may decide it; the others are the installation's.
    """
    metadata = {_KIND: kind, _HELP: text, _DEFAULT: default, _NEEDS: tuple(needs), _BY_AUTHOR: by_author}
    return cast("T", field(default=cast("Any", kind.parse(default)), metadata=metadata))


def optional(kind: Kind[T], text: str, needs: Sequence[str] = ()) -> T | None:
    """Declare a field that is ``None`` unless it is set; see `setting`."""
    metadata = {_KIND: kind, _HELP: text, _DEFAULT: "", _NEEDS: tuple(needs), _BY_AUTHOR: False}
    return cast("T | None", field(default=None, metadata=metadata))


@dataclass(frozen=True, slots=True)
class Setting:
    """One field of a program's configuration, as its user meets it."""

    key: str
    variable: str
    kind: Kind[Any]
    help: str
    default: str
    needs: tuple[str, ...]
    by_author: bool

    @property
    def dashed(self) -> str:
        """The name where words are joined by dashes: behind ``--``, in an annotation."""
        return self.key.replace("_", "-")

    @property
    def flag(self) -> str:
        """The long option, with its dashes."""
        return f"--{self.dashed}"


@dataclass(frozen=True)
class ProgramConfig:
    """What each program's configuration has: the two names of the program and a last check."""

    program: ClassVar[str]
    """The name of the twistd command."""
    prefix: ClassVar[str]
    """What its environment variables begin with, the underscore included."""

    def check(self) -> None:
        """Judge the values together.

        :raises ConfigError: they contradict each other, or one is missing.
        """


def settings(config: type[ProgramConfig]) -> tuple[Setting, ...]:
    """Return what can be set, in the order of declaration."""
    return tuple(
        Setting(
            each.name,
            config.prefix + each.name.upper(),
            each.metadata[_KIND],
            each.metadata[_HELP],
            each.metadata[_DEFAULT],
            each.metadata[_NEEDS],
            each.metadata[_BY_AUTHOR],
        )
        for each in fields(config)
    )


def load(config: type[C], flags: Mapping[str, str], environ: Mapping[str, str], file: Path | None = None) -> C:
    """Return a program's configuration, merged and checked.

    :param flags: key to text; the parts of a list joined by commas.
    :param file: a TOML file; else the one that the environment's ``<prefix>CONFIG`` names, if any.
    :raises ConfigError: a value, a key or the whole is wrong; the message names the place.
    """
    known = {each.key: each for each in settings(config)}
    variable = config.prefix + "CONFIG"
    if file is None and variable in environ:
        file = parsed(TOML_FILE, variable, environ[variable])
    written = {
        **(_from_file(file, known) if file else {}),
        **_from_environment(config, environ, known),
        **{key: (known[key].flag, text) for key, text in flags.items()},
    }
    loaded = _made(config, known, written)
    loaded.check()
    _refuse_unread(loaded, known, _places(written))
    return loaded


def judge_some(config: type[C], written: Written, given: frozenset[str], spelled: Callable[[str], str]) -> C:
    """Return a program's configuration as far as it is written here; the whole is not checked.

    :param given: the keys that are written elsewhere.
    :param spelled: gives a key as it is written here.
    :raises ConfigError: a value is wrong, or nothing reads it.
    """
    known = {each.key: each for each in settings(config)}
    loaded = _made(config, known, written)
    _refuse_unread(loaded, known, _places(written), given, spelled)
    return loaded


def load_some(config: type[ProgramConfig], file: Path, keys: Iterable[str]) -> dict[str, Any]:
    """Return some settings as a program's file has them, else their defaults; of the others only the keys are judged.

    For commands that ask what a program was told: they may lack its environment, flags and files.

    :raises ConfigError: the file cannot be read, a key is unknown, or one of these values is wrong.
    """
    known = {each.key: each for each in settings(config)}
    written = _from_file(file, known)
    defaults = {each.name: each.default for each in fields(config)}
    return {key: parsed(known[key].kind, *written[key]) if key in written else defaults[key] for key in keys}


def _made(config: type[C], known: Mapping[str, Setting], written: Written) -> C:
    return config(**{key: _value(known[key].kind, place, text) for key, (place, text) in written.items()})


def _places(written: Written) -> dict[str, str]:
    return {key: place for key, (place, _) in written.items()}


def _refuse_unread(
    config: ProgramConfig,
    known: Mapping[str, Setting],
    places: Mapping[str, str],
    given: frozenset[str] = frozenset(),
    spelled: Callable[[str], str] = str,
) -> None:
    """Insist that each setting that was given is read; one that is given empty asks for nothing.

    :param places: where each was given, by key.
    :param given: keys that have a value, though not in `config`.
    :param spelled: gives a key as users write it there.
    """
    for key, place in places.items():
        needs, value = known[key].needs, getattr(config, key)
        if not needs or value in (None, ()) or not given.isdisjoint(needs):
            continue
        if not any(_is_met(config, known, each) for each in needs):
            wanted = " or ".join(map(spelled, needs))
            raise ConfigError(place, f"nothing reads it without {wanted}", f"set {wanted}, or remove it")


def _is_met(config: ProgramConfig, known: Mapping[str, Setting], need: str) -> bool:
    key, equals, text = need.partition("=")
    value = getattr(config, key)
    return bool(value == known[key].kind.parse(text) if equals else value)


def _from_file(file: Path, known: Mapping[str, Setting]) -> dict[str, tuple[str, str]]:
    table = _read_toml(file)
    for key in table:
        if key not in known:
            raise ConfigError(f"{file}: {key}", "unknown key", nearest(key, known))
    return {key: (f"{file}: {key}", _text(f"{file}: {key}", value)) for key, value in table.items()}


def _read_toml(file: Path) -> dict[str, Any]:
    text = read_text(file, "name a TOML file that this user may read")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # of a number without end, or of brackets
        raise ConfigError(str(file), str(error), "correct the TOML there") from None


def _text(place: str, value: object) -> str:
    """Return a TOML value in the one spelling that all sources share."""
    if isinstance(value, list):
        return ",".join(_text(place, item) for item in value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise ConfigError(place, f"{value!r} is no text, number or list", "write it in quotes")


def _from_environment(
    config: type[ProgramConfig], environ: Mapping[str, str], known: Mapping[str, Setting]
) -> dict[str, tuple[str, str]]:
    variables = {each.variable: each.key for each in known.values()}
    found: dict[str, tuple[str, str]] = {}
    for variable, text in environ.items():
        if variable in variables:
            found[variables[variable]] = (variable, text)
        elif variable.startswith(config.prefix) and not _not_ours(config, variable, environ):
            raise ConfigError(variable, "unknown environment variable", nearest(variable, variables))
    return found


def _not_ours(config: type[ProgramConfig], variable: str, environ: Mapping[str, str]) -> bool:
    """Say whether it is not a setting: where the file is, or Kubernetes' word on a Service, whose host is there too."""
    link = _SERVICE_LINK.fullmatch(variable)
    return variable == f"{config.prefix}CONFIG" or (link is not None and f"{link[1]}SERVICE_HOST" in environ)


def parsed(kind: Kind[T], place: str, text: str) -> T:
    """Return a value that is written there.

    :raises ConfigError: it is none of that kind.
    """
    try:
        return kind.parse(text)
    except ValueError as error:
        raise ConfigError(place, str(error), f"write {kind.form}, such as {kind.example}") from None


def _value(kind: Kind[Any], place: str, text: str) -> object:
    value = parsed(kind, place, text)
    if kind.reads:
        _must_be_readable(place, cast("Path", value))
    return value


def _must_be_readable(place: str, path: Path) -> None:
    try:
        if path.is_dir():
            next(path.iterdir(), None)
        else:
            path.open("rb").close()
    except OSError as error:
        raise unreadable(place, path, error, "name one that exists and that this user may read") from None
