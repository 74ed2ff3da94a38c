"""What a run tells, for a terminal and for pages: in those, between two marks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks import table
from benchmarks.bars import judged
from benchmarks.plot import Panel, svg
from benchmarks.record import Record
from benchmarks.results import Results
from meshtx.errors import ConfigError

BEGIN, END = "<!-- made by python -m benchmarks --write-readme: begin -->", "<!-- end -->"
_BLOCK = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)

HERE = Path(__file__).parent
PLOT = HERE / "churn.svg"
SHORT, LONG = HERE.parent / "README.md", HERE / "README.md"

IN_SHORT = (
    "meshtx",
    "meshtx-http",
    "meshtx-cold",
    "envoy-tcp",
    "envoy-http",
    "envoy-connect",
    "haproxy",
    "nginx",
    "stunnel",
)
"""The columns of the short table."""


def terminal(record: Record, pairs: Sequence[str]) -> str:
    """Return everything for a terminal."""
    tables = [table.PAIRS.cells(record.pairs, pairs), table.SCALE.cells(record.scale), table.churn_cells(record.churn)]
    return "\n\n".join([*(table.plain(cells) for cells in tables if len(cells) > 1), "\n".join(judged(record))])


def short(record: Record) -> str:
    """Return the block of the project's first page."""
    cells = table.PAIRS.cells(record.pairs, IN_SHORT, brief=True)
    return f"{table.markdown(cells)}\n\nIn brackets: times Envoy TCP. {_on(record)}"


def long(record: Record) -> str:
    """Return the block of the page beside this file."""
    parts = [_on(record), table.markdown(table.PAIRS.cells(record.pairs))]
    if record.scale.values:
        parts += ["As work grows (in brackets: times `little`):", table.markdown(table.SCALE.cells(record.scale))]
    if record.churn.values:
        grown = table.markdown(table.churn_cells(record.churn))
        parts += [
            "At rest between spells of churn, the least of the second fifth of the time and of the last:",
            grown,
            f"![churn]({PLOT.name})",
        ]
    return "\n\n".join([*parts, "```text\n" + "\n".join(judged(record)) + "\n```"])


def _on(record: Record) -> str:
    return "Measured on " + ", ".join(f"{name} {value}" for name, value in record.about.items()) + "."


def filled(page: str, block: str) -> str:
    """Return a page with another block between its marks.

    :raises ConfigError: it has not both marks once.
    """
    changed, times = _BLOCK.subn(lambda _: f"{BEGIN}\n{block}\n{END}", page)
    if times != 1:
        raise ConfigError("the page", f"{times} blocks between its marks", f"have one: {BEGIN} and {END}")
    return changed


def write(record: Record) -> None:
    """Write the blocks of both pages, and the plot."""
    for page, block in ((SHORT, short(record)), (LONG, long(record))):
        page.write_text(filled(page.read_text(), block))
    if record.churn.values:
        PLOT.write_text(plot(record.churn))


def plot(churn: Results) -> str:
    """Draw what there was while connections came and went."""
    titles = {"rss_mib": "resident memory, MiB", "descriptors": "descriptors", "objects": "objects of Python"}
    lines = [pair for pair in churn.values if churn.series(pair, "at_s")]
    panels = [
        Panel(
            title,
            {pair: [*zip(churn.series(pair, "at_s"), churn.series(pair, figure), strict=True)] for pair in lines},
        )
        for figure, title in titles.items()
    ]
    return svg(panels, "seconds of churn")
