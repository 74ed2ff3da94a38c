"""The README's mesh on one laptop: its commands typed as they stand there, and compared with what it says of them.

first terminal     all of it, up to tap, which stays
second terminal    the client's request once more, and the end of the programs
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from meshtx.demo.lab import wait_until
from tests.mesh.town import PATIENCE, Program
from tools.readme import blocks, section

TITLE = "On one laptop"
INSTALL = """\
python3 -m venv env
. env/bin/activate
pip install .
"""
DAEMONS = ("client", "identity", "web")
INSTALLATION = 300.0
"""Seconds until pip has installed everything, and the programs run."""

Terminal = Callable[[str, str], Program]
"""Opens a terminal, which has a name, and types commands there until one fails."""


def type_section(terminal: Terminal, folder: Path, *, is_installed: bool = False) -> str:
    """Type the section's commands, and return what tap has shown.

    :param folder: where the terminals are, as seen from here.
    :param is_installed: leave out `INSTALL`.
    :raises AssertionError: something is not as the README says.
    """
    found = blocks(TITLE)
    _expect([language for language, _ in found], ["sh", "toml", "sh", "sh", ""])
    begin, directory, programs, tap, shown = (text for _, text in found)
    _expect(begin[: len(INSTALL)], INSTALL)
    begin = begin.removeprefix(INSTALL) if is_installed else begin
    first = terminal("first", f"{begin}\ncat >mesh.toml <<'END'\n{directory}END\n{programs}\n{tap}")
    first.until(lambda: first.log.count("the tap is open") == 2, "both taps are open", INSTALLATION)
    _expect(first.log.splitlines().count("hello"), 1)

    request = programs.splitlines()[-1]
    _expect(terminal("second", request).answer().splitlines()[-1], "hello")
    wanted = {_alike(line) for line in shown.splitlines()}
    _expect(len(wanted), 4)
    first.until(lambda: wanted <= set(map(_alike, first.lines)), "all lines of the README are there")

    logs = {name: (folder / f"{name}.log").read_text() for name in DAEMONS}
    _expect({name: text.count(" starting up.") for name, text in logs.items()}, dict.fromkeys(DAEMONS, 1))
    (end,) = re.findall(r"^`(for each in .*?; done)` ends the three programs", section(TITLE), re.MULTILINE)
    terminal("end", end).answer()
    wait_until(lambda: not list(folder.glob("*.pid")), "the end of all daemons", PATIENCE)
    return "".join(f"{line}\n" for line in first.lines if _alike(line) in wanted)


def _alike(line: str) -> str:
    """Return a line of tap without what differs each time: numbers of connections, the client's port, times."""
    return re.sub(r"(?<= id=)\d+|(?<=src=127\.0\.0\.1:)\d+|(?<=latency=)\d+|(?<=duration=)\d+", "N", line)


def _expect(found: object, wanted: object) -> None:
    if found != wanted:
        raise AssertionError(f"README, {TITLE}: {found!r}, where {wanted!r} was expected")
