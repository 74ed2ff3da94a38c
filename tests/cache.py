"""The user's cache (XDG Base Directory Specification), in which tests keep what takes long to make."""

from __future__ import annotations

import os
from pathlib import Path


def cached(*parts: str) -> Path:
    """Return a path in the cache's folder of meshtx."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(cache, "meshtx", *parts)
