"""The table: a row a figure, a column a pair; in each cell the median, and how many times the reference's it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.results import Results

REFERENCE = "envoy-tcp"


@dataclass(frozen=True)
class Row:
    """A figure in the table.

    :param form: how a value is written.
    :param compared: whether it is also shown as a ratio.
    """

    figure: str
    title: str
    form: str = "{:.1f}"
    compared: bool = True


ROWS = (
    Row("request_cpu_us", "CPU µs a request, kept alive"),
    Row("requests_per_s", "requests/s, 32 connections", "{:.0f}"),
    Row("alone_p50_us", "one connection, p50 µs", "{:.0f}"),
    Row("alone_p99_us", "one connection, p99 µs", "{:.0f}"),
    Row("half_p50_us", "added at half load, p50 µs", "{:.0f}"),
    Row("half_p99_us", "added at half load, p99 µs", "{:.0f}"),
    Row("connection_cpu_us", "CPU µs a new connection", "{:.0f}"),
    Row("connections_per_s", "new connections/s", "{:.0f}"),
    Row("first_byte_p50_us", "connect, first byte p50 µs", "{:.0f}"),
    Row("first_byte_p99_us", "connect, first byte p99 µs", "{:.0f}"),
    Row("legs_found", "connections that found a leg", "{:.1%}", compared=False),
    Row("bulk_down_cpu_s_per_gib", "CPU s a GiB down", "{:.2f}"),
    Row("bulk_up_cpu_s_per_gib", "CPU s a GiB up", "{:.2f}"),
    Row("bulk_down_mb_per_s", "MB/s down", "{:.0f}"),
    Row("base_mib", "MiB a proxy at start"),
    Row("idle_kib", "KiB an idle connection"),
    Row("requests_failed", "failed requests", "{:.0f}", compared=False),
    Row("connections_failed", "failed connections", "{:.0f}", compared=False),
    Row("others_cpu", "CPU that others took meanwhile", "{:.0%}", compared=False),
)


def cells(results: Results, pairs: Sequence[str]) -> list[list[str]]:
    """Return the table's cells, the head first; rows of which nothing was measured are left out."""
    head = ["", *pairs]
    body = [[row.title, *(_cell(results, row, pair) for pair in pairs)] for row in ROWS]
    return [head, *(line for line in body if any(line[1:]))]


def _cell(results: Results, row: Row, pair: str) -> str:
    value = results.median(pair, row.figure)
    if value is None:
        return ""
    ratio = results.ratio(pair, REFERENCE, row.figure) if row.compared else None
    return row.form.format(value) + (f" ({ratio:.2f})" if ratio is not None else "")


def plain(lines: Sequence[Sequence[str]]) -> str:
    """Return the table for a terminal."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(rest, widths[1:], strict=True))])
        for first, *rest in lines
    )


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """Return the table for a page."""
    head, *body = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([head, f"|---|{'---:|' * (len(lines[0]) - 1)}", *body])
