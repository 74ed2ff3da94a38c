"""Observers of the log from one level on, for twistd: ``--logger meshtx.observe.log_levels.warn``.

Without that option twistd writes all levels.
"""

from __future__ import annotations

import sys
from functools import partial

from twisted.logger import FilteringLogObserver, LogLevel, LogLevelFilterPredicate, textFileLogObserver


def _from(level: str) -> FilteringLogObserver:
    """Return an observer that writes events of this level and above to standard output."""
    predicate = LogLevelFilterPredicate(defaultLogLevel=LogLevel.levelWithName(level))
    return FilteringLogObserver(textFileLogObserver(sys.stdout), [predicate])


debug = partial(_from, "debug")
info = partial(_from, "info")
warn = partial(_from, "warn")
error = partial(_from, "error")
critical = partial(_from, "critical")
