"""Finds a token validator by the name that the configuration gives."""

from __future__ import annotations

from twisted.plugin import getPlugins
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

import meshtx.plugins
from meshtx.errors import ConfigError, nearest
from meshtx.interfaces import ITokenValidator

KEY = "validator"
"""The setting that names it."""


def load_validator(name: str) -> ITokenValidator:
    """Return the validator that a plugin offers under this name.

    :raises ConfigError: none does, several do, or it does not fit the interface.
    """
    offered: dict[str, list[ITokenValidator]] = {}
    for plugin in getPlugins(ITokenValidator, meshtx.plugins):
        offered.setdefault(str(getattr(plugin, "name", "")), []).append(plugin)
    found = offered.get(name, [])
    if not found:
        raise ConfigError(KEY, f"there is no validator {name!r}", nearest(name, sorted([*offered, "local"])))
    if len(found) > 1:
        where = " and ".join(sorted(type(plugin).__module__ for plugin in found))
        raise ConfigError(KEY, f"{len(found)} validators are called {name!r}", f"uninstall one of {where}")
    try:
        verifyObject(ITokenValidator, found[0])
    except Invalid as problem:
        lacking = " ".join(str(problem).split())
        raise ConfigError(KEY, f"validator {name!r} is broken: {lacking}", "see docs/plugins.md") from problem
    return found[0]
