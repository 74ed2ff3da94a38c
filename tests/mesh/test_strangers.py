"""A stranger sends the worst that it can to each port of each program, which serves on, and does not grow.

How long the loop was held is the command's to judge (`python -m tests.mesh.strangers`), on a machine that does nothing
else: no test fails because the machine is busy.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.mesh.strangers.programs import TARGETS
from tests.mesh.strangers.report import rows_of, run
from tests.mesh.strangers.sender import Sender
from tests.mesh.strangers.watching import Live

SCALE = 0.2
"""The share of the whole that is sent here."""


class StrangersTests(SynchronousTestCase):
    def test_a_proxy_serves_on(self) -> None:
        self.check("proxy")

    def test_identity_serves_on(self) -> None:
        self.check("identity")

    def test_a_directory_serves_on(self) -> None:
        self.check("directory")

    def check(self, name: str) -> None:
        """Start a program, and send every kind of input to each of its ports."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        target = TARGETS[name](folder)
        self.addCleanup(target.stop)
        live = Live(target.admin, target.program.process.pid)
        self.addCleanup(live.close)
        sender = Sender(target, SCALE)
        self.addCleanup(sender.close)
        if target.serves is not None:
            target.serves()
        rows = [run(target, live, sender, *each) for each in rows_of(target, [], [])]
        self.assertEqual({row.port for row in rows}, set(target.ports))
        self.assertEqual([str(row) for row in rows if row.failed or row.grown], [])
