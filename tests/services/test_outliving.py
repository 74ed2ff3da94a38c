"""How long a proxy that is to stop waits for its workload's end, by what it sees of it."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshtx.proxy.ends import Live
from meshtx.services.outliving import LOOK, QUIET, workload_gone


class Connection:
    """One that is served."""

    def abort(self) -> None:
        """Never, here."""


class OutlivingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.live = Clock(), Live()
        self.listens = False

    def wait(self) -> Deferred[None]:
        return Deferred.fromCoroutine(workload_gone(self.live, lambda: self.listens, self.clock))

    def advance(self, seconds: float) -> None:
        self.clock.pump([LOOK] * round(seconds / LOOK))

    def test_a_moment_without_a_sign_is_its_end(self) -> None:
        gone = self.wait()
        self.advance(QUIET - LOOK)
        self.assertNoResult(gone)
        self.advance(LOOK)
        self.assertIsNone(self.successResultOf(gone))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_as_long_as_it_listens_it_lives(self) -> None:
        self.listens = True
        gone = self.wait()
        self.advance(60.0)
        self.listens = False
        self.advance(QUIET - LOOK)
        self.assertNoResult(gone)
        self.advance(LOOK)
        self.successResultOf(gone)

    def test_as_long_as_it_has_a_connection_it_lives(self) -> None:
        connection = Connection()
        self.live.hold(connection)
        gone = self.wait()
        self.advance(60.0)
        self.assertNoResult(gone)
        self.live.release(connection)
        self.advance(QUIET)
        self.successResultOf(gone)

    def test_a_connection_between_two_looks_is_a_sign_too(self) -> None:
        gone = self.wait()
        for _ in range(10):
            self.advance(QUIET / 2)
            connection = Connection()
            self.live.hold(connection)
            self.live.release(connection)
        self.advance(QUIET - LOOK)
        self.assertNoResult(gone)
        self.advance(2 * LOOK)
        self.successResultOf(gone)

    def test_whoever_waits_may_give_up(self) -> None:
        self.listens = True
        gone = self.wait()
        gone.addTimeout(30.0, self.clock)
        self.advance(31.0)
        self.failureResultOf(gone)
        self.assertEqual(self.clock.getDelayedCalls(), [])
