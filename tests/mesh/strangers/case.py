"""Tests of a program against strangers: `StrangersCase` starts it, and `check` sends what one port is to stand.

How long the loop was held is the command's to judge (`python -m tests.mesh.strangers`): a test bounds it only where
the machine cannot be the reason.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.mesh.strangers.programs import TARGETS
from tests.mesh.strangers.report import rows_of, run
from tests.mesh.strangers.watching import Live

SCALE = 0.2


class StrangersCase(SynchronousTestCase):
    target: str
    """Of `TARGETS`."""

    def setUp(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.program = TARGETS[self.target](folder)
        self.addCleanup(self.program.stop)
        self.live = Live(self.program.admin, self.program.program.process.pid)
        self.addCleanup(self.live.close)
        if self.program.serves is not None:
            self.program.serves()

    def check(self, port: str) -> None:
        """Send every kind of input that is for a port: the program serves on, and does not grow."""
        rows = [run(self.program, self.live, *each, SCALE) for each in rows_of(self.program, [], [port])]
        self.assertNotEqual(rows, [])
        self.assertEqual([str(row) for row in rows if row.failed or row.grown], [])
