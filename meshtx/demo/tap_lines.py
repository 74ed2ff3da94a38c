"""The tap's lines in the demo: of many alike, the first few."""

from __future__ import annotations

import re
from pathlib import Path

ALIKE = 2
"""How many requests of one kind are shown, with all their lines."""

_LINE = re.compile(
    r"(?P<kind>\S+) +id=(?P<id>\S+) +proxy=(?P<proxy>in|out) .*?src=(?P<src>\S+) dst=(?P<dst>\S+) tls=(?P<tls>\S+)"
)
_WHAT = re.compile(r":method=(?P<method>\S+) .*:path=(?P<path>\S+)")


class TapLines:
    """Follows a tap's output.

    :param file: what the tap writes to.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._at = 0
        self._alike: dict[tuple[str, ...], int] = {}
        self._shown: set[tuple[str, ...]] = set()
        self.all: list[str] = []

    def new(self) -> list[str]:
        """Return the lines to show among those that are there since the last time."""
        text = self._file.read_text(errors="replace") if self._file.is_file() else ""
        end = text.rfind("\n") + 1
        lines, self._at = text[self._at : end].splitlines(), end
        self.all += lines
        return [line for line in lines if self._to_show(line)]

    def _to_show(self, line: str) -> bool:
        match = _LINE.match(line)
        if match is None:
            return False
        what = _WHAT.search(line)
        same = (match["proxy"], match["id"], match["src"], match["dst"])
        if match["kind"] in {"rsp", "end"}:
            return same in self._shown
        asked = what["method"] + what["path"] if what else ""
        kind = (match["kind"], match["proxy"], match["dst"], match["tls"], asked)
        self._alike[kind] = self._alike.get(kind, 0) + 1
        if self._alike[kind] > ALIKE:
            return False
        self._shown.add(same)
        return True
