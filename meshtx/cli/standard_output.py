"""Standard output for a command that prints without end: whole batches at once, and never in the way of an interrupt.

A write waits as long as the reader takes nothing. Twisted's handler of SIGINT only notes it for the reactor's next
iteration, which would come when the reader allows. So while a write runs, SIGINT and SIGTERM end the write.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TextIO

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """The user ended the program while it was writing."""


class StandardOutput:
    """Writes to a file's descriptor, past the file's own buffer.

    :param file: ``sys.stdout``, which must be a real file.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file  # which closes its descriptor when nobody has it any more
        self._descriptor = file.fileno()

    @property
    def is_terminal(self) -> bool:
        """Whether a person looks at it."""
        return os.isatty(self._descriptor)

    def columns(self) -> int:
        """Return the width of the terminal as it is now, in characters; 80 if it does not say."""
        try:
            return os.get_terminal_size(self._descriptor).columns or 80
        except OSError:
            return 80

    def write(self, text: str) -> None:
        """Write all of a text, however long the reader takes for it. Call it in the main thread.

        :raises Interrupted: SIGINT or SIGTERM came meanwhile.
        :raises OSError: it cannot be written.
        """
        data = memoryview(self._encoded(text))
        with _interruptible():
            while data:
                data = data[os.write(self._descriptor, data) :]

    def write_ready(self, text: str) -> None:
        """Write as much of a text as the reader takes at once.

        :raises Interrupted: as `write`.
        :raises OSError: as `write`.
        """
        data = memoryview(self._encoded(text))
        ready = select.poll()
        ready.register(self._descriptor, select.POLLOUT)
        with _interruptible():
            while data and ready.poll(0):
                data = data[os.write(self._descriptor, data[: select.PIPE_BUF]) :]

    def _encoded(self, text: str) -> bytes:
        return text.encode(self._file.encoding, "backslashreplace")


def wants_color(choice: str, output: StandardOutput, environ: Mapping[str, str]) -> bool:
    """Return whether to print escape sequences.

    :param choice: ``always``, ``never``, or ``auto``: on a terminal that is not ``TERM=dumb``, unless NO_COLOR is set
        and not empty (https://no-color.org).
    """
    if choice != "auto":
        return choice == "always"
    return output.is_terminal and not environ.get("NO_COLOR") and environ.get("TERM", "dumb") != "dumb"


@contextmanager
def _interruptible() -> Iterator[None]:
    """Raise `Interrupted` within when a signal comes, unless it is ignored."""
    before = {}
    try:
        for each in SIGNALS:
            handler = signal.getsignal(each)
            if callable(handler):
                before[each] = handler
                signal.signal(each, _interrupt)
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise Interrupted
