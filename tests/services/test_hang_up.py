"""A hang-up is no reload, and no sudden end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ReactorNotRunning
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from meshtx.services.hang_up import outlive_hang_ups


class Reactor:
    """Calls at once what a signal's handler wants to be called."""

    def __init__(self) -> None:
        self.running = True

    def callFromThread(self, function: Callable[..., object], *arguments: Any) -> None:
        function(*arguments)

    def stop(self) -> None:
        if not self.running:
            raise ReactorNotRunning
        self.running = False


class HangUpTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.addCleanup(signal.signal, signal.SIGHUP, signal.signal(signal.SIGHUP, signal.SIG_DFL))
        self.reactor = Reactor()

    def hang_up(self) -> list[str]:
        """Return what the program says of it."""
        with capturedLogs() as events:
            os.kill(os.getpid(), signal.SIGHUP)
        return [formatEvent(event) for event in events]

    def test_a_daemon_goes_on_and_says_what_it_does_without(self) -> None:
        outlive_hang_ups(self.reactor, lambda: False)
        self.assertEqual(
            self.hang_up(),
            ["SIGHUP changes nothing: files that are followed need no signal, all else is read at the start"],
        )
        self.assertTrue(self.reactor.running)

    def test_without_its_terminal_a_program_ends_in_order(self) -> None:
        outlive_hang_ups(self.reactor, lambda: True)
        for _ in range(2):
            self.assertEqual(self.hang_up(), ["the terminal has gone: shutting down"])
            self.assertFalse(self.reactor.running)

    def test_where_it_is_ignored_it_stays_ignored(self) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        outlive_hang_ups(self.reactor, lambda: True)
        self.assertEqual(self.hang_up(), [])
