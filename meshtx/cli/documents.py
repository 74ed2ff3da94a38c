"""Documents of Kubernetes as YAML: the same documents, the same bytes.

Blocks for texts of several lines, keys in the order in which they were put, no aliases. What another YAML could
take for a number or a date is quoted: readers differ (``1e3`` is a text here, and a number in Go).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from meshtx.errors import ConfigError

_LIKE_A_NUMBER = re.compile(r"[-+.]*[0-9]")


def dump(documents: Iterable[Mapping[str, Any]]) -> str:
    """Return YAML, each document begun by ``---``.

    :raises ConfigError: the package that writes YAML is not installed.
    """
    yaml = load_yaml()
    return yaml.dump_all(documents, Dumper=_dumper(), sort_keys=False, explicit_start=True, width=1000)


def load_yaml() -> Any:  # Any: a module that may be missing
    """Return the package that reads and writes YAML.

    :raises ConfigError: it is not installed.
    """
    try:
        import yaml
    except ImportError as error:
        raise ConfigError("yaml", "PyYAML is not installed", "pip install 'meshtx[kubernetes]'") from error
    return yaml


@cache
def _dumper() -> Any:  # Any: PyYAML's classes are only there with PyYAML
    dumper = type("Dumper", (load_yaml().SafeDumper,), {"ignore_aliases": lambda *_: True})
    dumper.add_representer(str, _text)  # type: ignore[attr-defined]  # of SafeDumper
    return dumper


def _text(dumper: Any, value: str) -> Any:  # Any: likewise
    style = "|" if "\n" in value else "'" if _LIKE_A_NUMBER.match(value) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)
