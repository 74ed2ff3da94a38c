"""What `--logger meshtx.observe.log_levels.LEVEL` lets through."""

from __future__ import annotations

import io
import sys

from twisted.logger import Logger, LogLevel
from twisted.python.reflect import namedAny
from twisted.trial.unittest import SynchronousTestCase

from meshtx.kube.annotations import LOG_LEVELS


class LogLevelTests(SynchronousTestCase):
    def written(self, level: str) -> list[str]:
        out = io.StringIO()
        self.patch(sys, "stdout", out)
        log = Logger(namespace="test", observer=namedAny(f"meshtx.observe.log_levels.{level}")())
        for each in LogLevel.iterconstants():
            log.emit(each, "said {what}", what=each.name)
        return [line.rsplit(" ", 1)[1] for line in out.getvalue().splitlines()]

    def test_each_level_of_an_annotation_shows_itself_and_what_is_worse(self) -> None:
        for number, level in enumerate(LOG_LEVELS):
            self.assertEqual(self.written(level), list(LOG_LEVELS[number:]))
