"""Work that takes a while, begun one piece a turn of the reactor, those who ask in rotation.

    ask ─┬─ nothing was begun this turn ─▶ begun at once
         └─ else ─▶ waits ─ its source's turn ─▶ begun
                      └─ given up

Nobody holds a turn: what was begun is waited for by nobody. So a thousand who ask at once hold up other
connections' bytes for one piece at a time, and one source that asks for a thousand holds up another's one for one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from meshtx.proxy.crowd import SourceKey


class Turn:
    """One piece of work that was asked for."""

    __slots__ = ("_begin", "_source", "_turns")

    def __init__(self, turns: Turns, source: SourceKey, begin: Callable[[], None]) -> None:
        self._turns = turns
        self._source = source
        self._begin: Callable[[], None] | None = begin

    @property
    def waits(self) -> bool:
        """It has not begun yet, and will."""
        return self._begin is not None

    def begin(self) -> None:
        """Do it."""
        begin, self._begin = self._begin, None
        if begin is not None:
            begin()

    def give_up(self) -> None:
        """Do not; may be called again, and when it has begun."""
        begin, self._begin = self._begin, None
        if begin is not None:
            self._turns.forget(self, self._source)


class Turns:
    """Whose turn it is."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: OrderedDict[SourceKey, OrderedDict[Turn, None]] = OrderedDict()
        self._next: IDelayedCall | None = None
        """Set for as long as something was begun in this turn."""

    def ask(self, source: SourceKey, begin: Callable[[], None]) -> Turn:
        """Have something begun, now or later.

        :param begin: raises nothing.
        """
        turn = Turn(self, source, begin)
        if self._next is None:
            self._next = self._clock.callLater(0, self._go_on)
            turn.begin()
        else:
            self._waiting.setdefault(source, OrderedDict())[turn] = None
        return turn

    def forget(self, turn: Turn, source: SourceKey) -> None:
        """Strike out one that waits."""
        of_source = self._waiting[source]
        del of_source[turn]
        if not of_source:
            del self._waiting[source]

    def _go_on(self) -> None:
        if not self._waiting:
            self._next = None
            return
        self._next = self._clock.callLater(0, self._go_on)
        source, of_source = self._waiting.popitem(last=False)
        turn, _ = of_source.popitem(last=False)
        if of_source:
            self._waiting[source] = of_source
        turn.begin()
