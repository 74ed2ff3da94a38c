"""Signals as a queue: blocked, and taken one by one by `sigwaitinfo`, so no handler interrupts anything.

A terminal sends its signals (Ctrl-C, Ctrl-Z, a new window size) to all processes of its foreground process
group. `Received.from_terminal` tells those from the same signals sent to this process alone.
"""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from signal import Signals
from types import FrameType, TracebackType
from typing import Any, Self

FORWARDED = frozenset(
    {
        Signals.SIGTERM,
        Signals.SIGINT,
        Signals.SIGHUP,
        Signals.SIGQUIT,
        Signals.SIGUSR1,
        Signals.SIGUSR2,
        Signals.SIGWINCH,
        Signals.SIGTSTP,
        Signals.SIGCONT,
    }
)
"""What a supervisor passes on to its command."""
STOPPING = frozenset({Signals.SIGTERM, Signals.SIGINT, Signals.SIGHUP, Signals.SIGQUIT})
"""What asks a program to end."""
_OF_TERMINALS = frozenset({Signals.SIGINT, Signals.SIGQUIT, Signals.SIGWINCH, Signals.SIGTSTP})
_QUEUED = FORWARDED | {Signals.SIGCHLD, Signals.SIGALRM}
_SI_KERNEL = 0x80
"""The `si_code` of what Linux sends by itself, as for a terminal (sigaction(2)); Python has no name for it."""

_Handler = Callable[[int, FrameType | None], Any] | int | None


@dataclass(frozen=True, slots=True)
class Received:
    """One signal.

    :param from_terminal: a terminal sent it, to the whole foreground process group.
    """

    number: Signals
    from_terminal: bool


class SignalQueue:
    """A context in which signals are queued; for the main thread.

    `mask` is the signal mask from before, which child processes need back.
    """

    mask: set[int]

    def __enter__(self) -> Self:
        self.mask = {int(each) for each in signal.pthread_sigmask(signal.SIG_BLOCK, _QUEUED)}
        self._handlers: dict[Signals, _Handler] = {}
        for number in _QUEUED:
            # A handler that exec resets: what is ignored by default could be discarded though it is blocked, and
            # an ignored SIGCHLD would reap children by itself. What our parent had us ignore, children ignore too.
            if number is Signals.SIGCHLD or signal.getsignal(number) is not signal.SIG_IGN:
                self._handlers[number] = signal.signal(number, _ignore)
        return self

    def receive(self, timeout: float) -> Received | None:
        """Wait for a signal; ``None`` once the time is over, or a little earlier.

        :param timeout: seconds, more than 0; infinite: no bound.
        """
        signal.setitimer(signal.ITIMER_REAL, 0 if timeout == math.inf else max(timeout, 0.001))
        number, code = _wait()
        if number is Signals.SIGALRM:
            return None
        return Received(number, number in _OF_TERMINALS and code == _SI_KERNEL)

    def stop(self) -> None:
        """Stop this process as SIGTSTP does by default: not if nobody would continue it (an orphaned process group)."""
        if Signals.SIGTSTP in self._handlers:
            signal.signal(Signals.SIGTSTP, signal.SIG_DFL)
            os.kill(os.getpid(), Signals.SIGTSTP)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {Signals.SIGTSTP})
            signal.pthread_sigmask(signal.SIG_BLOCK, {Signals.SIGTSTP})
            signal.signal(Signals.SIGTSTP, _ignore)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)  # what is still queued is dropped by `_ignore`
        for number, handler in self._handlers.items():
            signal.signal(number, handler)


def _wait() -> tuple[Signals, int]:
    """Return the next signal and its `si_code`; where the system has no sigwaitinfo, that of a terminal."""
    if hasattr(signal, "sigwaitinfo"):
        received = signal.sigwaitinfo(_QUEUED)
        return Signals(received.si_signo), received.si_code
    return Signals(signal.sigwait(_QUEUED)), _SI_KERNEL


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Do nothing."""
