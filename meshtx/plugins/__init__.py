"""Extensions of meshtx: ours, and those that users install into this same package.

An extension is a module in a folder ``meshtx/plugins/`` anywhere on Python's path, with no
``__init__.py`` beside it; `docs/plugins.md` shows one. Only what the configuration names is used.
"""

from __future__ import annotations

from twisted.plugin import pluginPackagePaths

__path__.extend(pluginPackagePaths(__name__))
__all__: list[str] = []
