"""The forms of a line of ``meshtx tap``.

    json        one object
    text        Linkerd's line; -o wide adds fields
    terminal    the same line, begun with the time of day, in columns, no longer than the terminal is wide

What is printed elsewhere than on a terminal is for programs: no column, no cut.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import click
from rich.cells import cell_len, set_cell_size

from meshtx.observe.tap_lines import json_line, line_fields, rfc3339, text_line
from meshtx.pki.name import MeshScope
from meshtx.rpc.messages.tap_pb2 import TapEvent

Format = Callable[[TapEvent, str, MeshScope | None], str]
"""Returns the line of an event; gets the proxy that it is from, and the own mesh where it is known."""

COLUMNS = {"id": 16, "src": 29, "dst": 29, "tls": 40}
"""The fields that are columns on a terminal, and how wide each may become; a wider value moves its own line only.

``src=255.255.255.255:65535`` has 25 characters.
"""
CUT = (":path", "detail", ":authority")
"""The fields that are cut on a terminal that is too narrow, in this order: others wrote them, at any length."""
SHORTEST = 24
"""Characters that are left of such a field."""


def _sgr(**style: bool | str) -> str:
    return click.style("", reset=False, **style)  # type: ignore[arg-type]  # a mapping has one type for all


_RESET = click.style("")
_DIM = _sgr(dim=True)
_GOOD, _ODD, _BAD = _sgr(fg="green"), _sgr(fg="yellow"), _sgr(fg="red")
_STATUSES = ((500, _BAD), (400, _ODD))
_WORDS = {"refused": _sgr(fg="red", bold=True), "lost": _sgr(fg="yellow", bold=True)}


def json_format(event: TapEvent, target: str, own_mesh: MeshScope | None) -> str:
    """Return the event as an object; names are in full."""
    del own_mesh
    return json_line(event, target=target)


class LineFormat:
    """Makes the lines that are for people.

    :param wide: with the peer, how the client is known, and the target; never cut.
    :param timestamps: each line begins with its time.
    :param color: with escape sequences.
    :param columns: returns the width of the terminal, in characters; ``None``: it is none.
    :param now: returns the time of arrival, for events without a time: seconds since 1970.
    """

    def __init__(
        self,
        *,
        wide: bool = False,
        timestamps: bool = False,
        color: bool = False,
        columns: Callable[[], int] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._wide = wide
        self._timestamps = timestamps
        self._color = color
        self._columns = columns
        self._now = now
        self._time_text = _time_of_day if columns else rfc3339
        self._widths = dict.fromkeys(COLUMNS, 0)

    def __call__(self, event: TapEvent, target: str, own_mesh: MeshScope | None) -> str:
        """Return the line of an event."""
        target = target if self._wide else ""
        start = f"{self._time_text(self._time(event))} " if self._timestamps else ""
        if not self._color and self._columns is None:
            return start + text_line(event, wide=self._wide, target=target, own_mesh=own_mesh)
        word, fields = line_fields(event, wide=self._wide, target=target, own_mesh=own_mesh)
        named = [(name, value, f"{name}={value}") for name, value in fields]
        if self._columns is not None:
            named = [(name, value, self._padded(name, text)) for name, value, text in named]
            if not self._wide:
                _cut(named, self._columns() - len(start) - len(word))
        texts = [text for _, _, text in named]
        if self._color:
            start = _colored(_DIM, start)
            word = _colored(_WORDS.get(word, ""), word)
            texts = [_colored(_style(name, value), text) for name, value, text in named]
        return (start + " ".join([word, *texts])).rstrip(" ")

    def _time(self, event: TapEvent) -> float:
        return event.time.seconds + event.time.nanos / 1e9 if event.HasField("time") else self._now()

    def _padded(self, name: str, text: str) -> str:
        widest = COLUMNS.get(name)
        if widest is None:
            return text
        width = self._widths[name] = max(self._widths[name], min(len(text), widest))
        return text.ljust(width)


_Named = list[tuple[str, str, str]]
"""Names, values, and what is printed of both."""


def _cut(named: _Named, room: int) -> None:
    """Shorten what strangers wrote until the line fits, as far as it may be shortened.

    :param room: characters for all fields, each with a blank before it.
    """
    excess = sum(_width(text) + 1 for _, _, text in named) - room
    for cut in CUT if excess > 0 else ():
        for at, (name, value, text) in enumerate(named):
            if name == cut and excess > 0:
                left = max(_width(text) - excess, SHORTEST)
                if left < _width(text):
                    excess -= _width(text) - left
                    named[at] = name, value, set_cell_size(text, left - 1) + "…"


def _width(text: str) -> int:
    return len(text) if text.isascii() else cell_len(text)


def _colored(style: str, text: str) -> str:
    if not style or not text:
        return text
    bare = text.rstrip(" ")
    return f"{style}{bare}{_RESET}{text[len(bare) :]}"


def _style(name: str, value: str) -> str:
    """Return the escape sequence of a field: what is as it should be, odd, or bad."""
    match name:
        case "id":
            return _DIM
        case "tls":
            return _GOOD if value == "true" else _ODD
        case ":status":
            return next((style for least, style in _STATUSES if int(value) >= least), "")
        case "grpc-status":
            return "" if value == "OK" else _BAD
        case "reset-error" | "error" | "reason":
            return _BAD
    return ""


def _time_of_day(seconds: float) -> str:
    try:
        whole, milliseconds = divmod(round(seconds * 1000), 1000)
        return f"{time.strftime('%H:%M:%S', time.localtime(whole))}.{milliseconds:03}"
    except (ValueError, OverflowError, OSError):
        return "--:--:--.---"


def choose(output: str, *, color: bool, timestamps: bool | None, columns: Callable[[], int] | None) -> Format:
    """Return the format that was asked for.

    :param output: ``text``, ``wide`` or ``json``.
    :param timestamps: ``None``: on a terminal, and with ``wide``.
    :param columns: as for `LineFormat`.
    """
    if output == "json":
        return json_format
    wide = output == "wide"
    shown = wide or columns is not None if timestamps is None else timestamps
    return LineFormat(wide=wide, timestamps=shown, color=color, columns=columns)
