"""Extensions by their names: objects in the package `meshtx.plugins`, ours and those that users install.

Only what is named is used. A name that nobody offers, that two offer, or whose object does not fit the
interface is the user's mistake, and said in one sentence.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from twisted.plugin import getPlugins
from zope.interface import Interface
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

import meshtx.plugins
from meshtx.errors import ConfigError, nearest


@dataclass(frozen=True, slots=True)
class Extensions:
    """One kind of them.

    :param key: the setting that names them.
    :param what: what errors call one of them.
    :param also: further names that the setting knows, to be told to whoever misspells one.
    """

    interface: type[Interface]
    key: str
    what: str
    also: tuple[str, ...] = ()

    def load(self, names: Sequence[str]) -> list[Any]:
        """Return the extensions of these names, in this order; a name said twice counts once.

        Any: each provides the interface.

        :raises ConfigError: a name is not known, is offered twice, or its object does not fit the interface.
        """
        if not names:
            return []
        offered: dict[str, list[Any]] = {}
        for plugin in getPlugins(self.interface, meshtx.plugins):
            offered.setdefault(str(getattr(plugin, "name", "")), []).append(plugin)
        known = sorted({*offered, *self.also})
        return [self._only(name, offered.get(name, []), known) for name in dict.fromkeys(names)]

    def _only(self, name: str, found: list[Any], known: list[str]) -> Any:
        if not found:
            raise ConfigError(self.key, f"there is no {self.what} {name!r}", nearest(name, known))
        if len(found) > 1:
            where = " and ".join(sorted({place for each in found for place in _places(each)}))
            raise ConfigError(self.key, f"{len(found)} {self.what}s are called {name!r}", f"uninstall one of {where}")
        try:
            verifyObject(self.interface, found[0])
        except Invalid as problem:
            lacking = " ".join(str(problem).split())
            raise ConfigError(
                self.key, f"{self.what} {name!r} is broken: {lacking}", "see docs/plugins.md"
            ) from problem
        return found[0]


def _places(plugin: object) -> list[str]:
    """Return the modules that offer this object: where its class stands, may be one and the same for many."""
    offering = f"{meshtx.plugins.__name__}."
    return [
        name
        for name, module in sys.modules.items()
        if name.startswith(offering) and any(each is plugin for each in vars(module).values())
    ]
