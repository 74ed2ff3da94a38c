"""Running a reactor for as long as one command takes."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import click
from twisted.internet import task
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred

from meshtx.errors import MeshtxError

T = TypeVar("T")


def react(main: Callable[[Any], Coroutine[Any, Any, T]]) -> T | None:
    """Run this, and return what it does; ``None`` if the user interrupts it.

    It begins once the reactor runs: an interrupt before that would end some call of Twisted's in the middle, which
    may swallow it.

    :param main: is given the reactor. (Any: a reactor has no one type.)
    :raises MeshtxError: as `main` did.
    :raises click.exceptions.Exit: it failed otherwise, which has been logged.
    """
    done: list[T] = []
    failed: list[MeshtxError] = []

    async def run(reactor: Any) -> None:
        working = ensureDeferred(main(reactor))
        reactor.addSystemEventTrigger("before", "shutdown", working.cancel)
        try:
            done.append(await working)
        except CancelledError:  # the user has interrupted it
            pass
        except MeshtxError as error:
            failed.append(error)

    def begin(reactor: Any) -> Deferred[None]:
        running: Deferred[Any] = Deferred()
        reactor.callWhenRunning(running.callback, reactor)
        return running.addCallback(lambda reactor: ensureDeferred(run(reactor)))

    try:
        task.react(begin)
    except SystemExit as end:
        if end.code:
            raise click.exceptions.Exit(1) from end
    if failed:
        raise failed[0]
    return done[0] if done else None
