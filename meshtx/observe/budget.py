"""How much work observing may do: for one connection, and for all together.

Work is told in units of about a microsecond of CPU time. Our own parsers count theirs (`meshtx.wire.work`), so that
nobody is let go of because the machine was busy; a plugin's observer is timed (`Timed`).

    a call of up to `FREE` units ─▶ nothing is looked at
    a longer one ─▶ its work - what it has earned ─┬▶ the connection's account
                                                   └▶ the account of all, which bounds a turn of the reactor

Honest traffic earns what it costs: each byte that passes and each message that is seen - a request, an answer that was
not cut off - pays for some work. Only the rest is spent from the two accounts, which fill up again with time. The
connection whose call overdraws one is observed no further; it goes on, as do the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol, cast

from meshtx.interfaces import IObserver
from meshtx.observe.flow import Request, ResponseEnd, Seen
from meshtx.wire.http_events import RequestHead

FREE = 200
"""Units of one call that are not looked at: more than nearly all calls take."""
BYTE = 0.06
"""Units that a byte earns: what gRPC messages of one byte take."""
MESSAGE = 50
"""Units that a message earns: several times what a parser of ours takes for one."""

CONNECTION = (10_000, 50_000)
"""What the account of a connection holds, in units, and what a second adds to it: 5 % of a CPU."""
TOGETHER = (10_000, 100_000)
"""The same of the account of all connections."""

_MICROSECOND = 1e-6


class Account:
    """Work that may be spent: no more at once than it holds, and over a long time what time adds.

    :param holds: units.
    :param rate: units that a second adds.
    """

    __slots__ = ("_at", "_balance", "_holds", "_rate")

    def __init__(self, holds: float, rate: float, now: float) -> None:
        self._holds = holds
        self._rate = rate
        self._balance = holds
        self._at = now

    def spend(self, work: float, now: float) -> bool:
        """Take work from it, or add some, and say whether there was enough."""
        self._balance = min(self._balance + (now - self._at) * self._rate, self._holds)
        self._at = now
        self._balance = min(self._balance - work, self._holds)
        return self._balance >= 0


class Budget:
    """What the connections of a program may spend.

    :param now: returns seconds that never go back.
    :param cpu: returns seconds of this thread's CPU time.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic, cpu: Callable[[], float] = time.thread_time) -> None:
        self.now = now
        self.cpu = cpu
        self.together = Account(*TOGETHER, now())


class Spending:
    """What one connection has spent; made with its first long call."""

    __slots__ = ("_account", "_budget")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._account = Account(*CONNECTION, budget.now())

    def charge(self, work: float, size: int, seen: Sequence[Seen]) -> bool:
        """Charge for one call, and say whether the connection may be observed further.

        :param work: units.
        :param size: bytes that the call was given; `seen`: what it has made of them.
        """
        cost, now = work - size * BYTE - _messages(seen) * MESSAGE, self._budget.now()
        enough = self._account.spend(cost, now)
        return self._budget.together.spend(max(cost, 0), now) and enough


def _messages(seen: Sequence[Seen]) -> int:
    """Count messages; an answer that is cut off takes back what its request has earned."""
    count = 0
    for event in seen:
        if isinstance(event, RequestHead | Request):
            count += 1
        elif isinstance(event, ResponseEnd):
            count += 1 if event.reset is None else -1
    return count


class Counted(Protocol):
    """An observer that says what its last call has taken."""

    @property
    def work(self) -> float:
        """Units."""

    @property
    def detached(self) -> bool:
        """It has given up."""

    def client_data(self, data: bytes) -> Sequence[Seen]:
        """See `meshtx.interfaces.IObserver`."""

    def server_data(self, data: bytes) -> Sequence[Seen]:
        """Likewise."""

    def ended(self, orderly: bool) -> Sequence[Seen]:
        """Likewise."""


class Timed:
    """An observer that does not count its work, and is timed."""

    __slots__ = ("_cpu", "_observer", "work")

    def __init__(self, observer: IObserver, cpu: Callable[[], float]) -> None:
        self._observer = observer
        self._cpu = cpu
        self.work = 0.0

    @property
    def detached(self) -> bool:
        """It has given up."""
        return bool(self._observer.detached)

    def ended(self, orderly: bool) -> Sequence[Seen]:
        """Pass it on."""
        return self._observer.ended(orderly)

    def client_data(self, data: bytes) -> Sequence[Seen]:
        """Pass it on."""
        return self._time(self._observer.client_data, data)

    def server_data(self, data: bytes) -> Sequence[Seen]:
        """Pass it on."""
        return self._time(self._observer.server_data, data)

    def _time(self, observe: Callable[[bytes], Sequence[Seen]], data: bytes) -> Sequence[Seen]:
        begun = self._cpu()
        seen = observe(data)
        self.work = (self._cpu() - begun) / _MICROSECOND
        return seen


def counted(observer: IObserver, cpu: Callable[[], float]) -> Counted:
    """Return an observer that says what it takes: itself, if it does."""
    return cast("Counted", observer) if hasattr(observer, "work") else Timed(observer, cpu)
