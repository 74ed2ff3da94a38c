"""Prints what a tap brings: a line an event, several lines a write.

    show ─▶ lines that wait ─▶ one write, at once after a pause, else `GATHER` s after the last one

A write that waits for its reader stops everything, and so nothing more is read from the proxies: they count what they
drop, and say so with ``lost``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import click
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from meshtx.cli.standard_output import Interrupted
from meshtx.cli.tap_format import Format
from meshtx.errors import OutputError
from meshtx.net.deadline import call_off
from meshtx.pki.name import MeshScope
from meshtx.rpc.messages.tap_pb2 import TapEvent

GATHER = 0.05
"""Seconds between two writes: twenty a second look like a steady flow."""
FULL = 64 * 1024
"""Characters that wait before they are written without delay."""


class Output(Protocol):
    """Where lines go: `meshtx.cli.standard_output.StandardOutput`."""

    def write(self, text: str) -> None:
        """Write all of it."""

    def write_ready(self, text: str) -> None:
        """Write as much of it as the reader takes at once."""


class Printer:
    """Prints events until there are enough, or nobody reads them, or the user interrupts a write.

    :param most: lines after which there are enough; ``None``: never.
    :param several: lines name the proxy that they come from.
    """

    def __init__(
        self, form: Format, output: Output, clock: IReactorTime, *, most: int | None = None, several: bool = False
    ) -> None:
        self._form = form
        self._output = output
        self._clock = clock
        self._left = most
        self._several = several
        self._waiting: list[str] = []
        self._length = 0
        self._turn: IDelayedCall | None = None
        self._written_at = clock.seconds() - GATHER
        self._error: OSError | None = None
        self._stopped = False
        self.over: Deferred[None] = Deferred()
        """Fires, from the reactor, when no more lines are wanted."""
        self.lost = 0
        """Events that the proxies have dropped."""

    def show(self, target: object, event: TapEvent, own_mesh: MeshScope | None) -> None:
        """Print an event, soon.

        :param target: the proxy that saw it, in words.
        :param own_mesh: as for a `Format`.
        """
        if self._stopped:
            return
        self.lost += event.lost.count
        line = self._form(event, str(target) if self._several else "", own_mesh)
        self._waiting.append(line)
        self._length += len(line)
        if self._left is not None:
            self._left -= 1
        if self._left == 0:
            self.flush()
            self._stop()
        elif self._length >= FULL:
            self.flush()
        elif self._turn is None:
            since = self._clock.seconds() - self._written_at
            self._turn = self._clock.callLater(0.0 if since < 0 else max(GATHER - since, 0.0), self.flush)

    def say(self, text: str) -> None:
        """Tell the user something on standard error, behind the lines that came before."""
        self.flush()
        click.echo(f"meshtx: {text}", err=True)

    def flush(self) -> None:
        """Write what waits."""
        self._write(self._output.write)

    def finish(self, *, interrupted: bool) -> None:
        """Write the last lines; if the user has interrupted the command, only what the reader takes at once.

        :raises OutputError: lines could not be written.
        """
        self._write(self._output.write_ready if interrupted else self._output.write)
        self._stopped = True
        if self.lost:
            self.say(f"{self.lost} events were lost on the way; filters such as --path have the proxies send fewer")
        if self._error is not None:
            raise OutputError(self._error) from self._error

    def _write(self, write: Callable[[str], None]) -> None:
        call_off(self._turn)
        self._turn = None
        if not self._waiting or self._stopped:
            return
        text = "\n".join([*self._waiting, ""])
        self._waiting.clear()
        self._length = 0
        try:
            write(text)
        except (Interrupted, BrokenPipeError):
            self._stop()
        except OSError as error:
            self._error = error
            self._stop()
        self._written_at = self._clock.seconds()

    def _stop(self) -> None:
        if not self._stopped:
            self._stopped = True
            self._clock.callLater(0, self.over.callback, None)
