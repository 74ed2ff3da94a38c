"""SIGHUP, which tells other daemons to read their files anew, and would end ours on the spot.

Ours follow what may change by themselves: a daemon goes on, and says so. To a program in the foreground it means that
its terminal has gone; that one ends in order, as by SIGTERM.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger

log = Logger()


def has_terminal() -> bool:
    """Return whether a terminal controls this process."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY))
    except OSError:
        return False
    return True


def outlive_hang_ups(reactor: Any, has_terminal: Callable[[], bool] = has_terminal) -> None:
    """Handle SIGHUP from now on, unless whoever started the program had it ignored.

    :param reactor: runs. (Any: a reactor has no one type.)
    """
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL:
        return
    act = _stop if has_terminal() else _go_on
    signal.signal(signal.SIGHUP, lambda _number, _frame: reactor.callFromThread(act, reactor))


def _go_on(_reactor: Any) -> None:
    log.info("SIGHUP changes nothing: files that are followed need no signal, all else is read at the start")


def _stop(reactor: Any) -> None:
    log.info("the terminal has gone: shutting down")
    with suppress(ReactorNotRunning):  # it stops already
        reactor.stop()
