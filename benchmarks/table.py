"""The tables: a row a figure, a column a pair; in each cell the median, and how many times the reference's it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.results import Results


@dataclass(frozen=True)
class Row:
    """A figure in a table.

    :param form: how a value is written.
    :param compared: whether it is also shown as a ratio.
    :param brief: whether it is in the short table too.
    """

    figure: str
    title: str
    form: str = "{:.1f}"
    compared: bool = True
    brief: bool = False


@dataclass(frozen=True)
class Table:
    """What is shown of some results.

    :param reference: the pair that the others are compared with.
    """

    reference: str
    rows: tuple[Row, ...]

    def cells(self, results: Results, pairs: Sequence[str] = (), *, brief: bool = False) -> list[list[str]]:
        """Return the table's cells, the head first; rows of which nothing was measured are left out.

        :param pairs: those to be shown, as far as they were measured; all without.
        """
        shown = [pair for pair in pairs or results.values if pair in results.values]
        rows = [row for row in self.rows if row.brief or not brief]
        body = [[row.title, *(self._cell(results, row, pair) for pair in shown)] for row in rows]
        return [["", *shown], *(line for line in body if any(line[1:]))]

    def _cell(self, results: Results, row: Row, pair: str) -> str:
        value = results.median(pair, row.figure)
        if value is None:
            return ""
        ratio = results.ratio(pair, self.reference, row.figure) if row.compared else None
        return row.form.format(value) + (f" ({ratio:.2f})" if ratio is not None else "")


PAIRS = Table(
    "envoy-tcp",
    (
        Row("request_cpu_us", "CPU µs a request, kept alive", brief=True),
        Row("request_kernel_us", "of it in the kernel", compared=False),
        Row("requests_per_s", "requests/s, 32 connections", "{:.0f}", brief=True),
        Row("alone_p50_us", "one connection, p50 µs", "{:.0f}", brief=True),
        Row("alone_p99_us", "one connection, p99 µs", "{:.0f}"),
        Row("half_rate", "half of its maximum, requests/s", "{:.0f}"),
        Row("half_p50_us", "added at half load, p50 µs", "{:.0f}", brief=True),
        Row("half_p99_us", "added at half load, p99 µs", "{:.0f}", brief=True),
        Row("half_late_p99_us", "load itself late by, p99 µs", "{:.0f}", compared=False),
        Row("connection_cpu_us", "CPU µs a new connection", "{:.0f}", brief=True),
        Row("connection_kernel_us", "of it in the kernel", "{:.0f}", compared=False),
        Row("connections_per_s", "new connections/s", "{:.0f}", brief=True),
        Row("first_byte_p50_us", "connect, first byte p50 µs", "{:.0f}", brief=True),
        Row("first_byte_p99_us", "connect, first byte p99 µs", "{:.0f}"),
        Row("legs_found", "connections that found a leg", "{:.1%}", compared=False, brief=True),
        Row("bulk_down_cpu_s_per_gib", "CPU s a GiB down", "{:.2f}", brief=True),
        Row("bulk_up_cpu_s_per_gib", "CPU s a GiB up", "{:.2f}", brief=True),
        Row("bulk_down_mb_per_s", "MB/s down", "{:.0f}"),
        Row("bulk_up_mb_per_s", "MB/s up", "{:.0f}"),
        Row("base_mib", "MiB a proxy at start", brief=True),
        Row("idle_kib", "KiB an idle connection", brief=True),
        Row("requests_failed", "failed requests", "{:.0f}", compared=False),
        Row("connections_failed", "failed connections", "{:.0f}", compared=False),
        Row("others_cpu", "CPU that others took meanwhile", "{:.0%}", compared=False),
    ),
)

SCALE = Table(
    "little",
    (
        Row("idle_legs", "idle legs", "{:.0f}", compared=False),
        Row("request_cpu_us", "CPU µs a request", compared=False),
        Row("alone_p50_us", "one connection, p50 µs", "{:.0f}"),
        Row("request_p50_us", "request p50 µs", "{:.0f}"),
        Row("request_p99_us", "request p99 µs", "{:.0f}"),
        Row("connection_cpu_us", "CPU µs a new connection", "{:.0f}"),
        Row("first_byte_p50_us", "connect, first byte p50 µs", "{:.0f}"),
        Row("leg_kib", "KiB an idle leg", compared=False),
        Row("tapped", "requests that tap has shown", "{:.1%}", compared=False),
        Row("requests_failed", "failed requests", "{:.0f}", compared=False),
        Row("connections_failed", "failed connections", "{:.0f}", compared=False),
    ),
)


def churn_cells(results: Results) -> list[list[str]]:
    """Return how each thing has grown while connections came and went."""
    head = ["", "MiB", "descriptors", "objects of Python", "connections", "refused"]
    forms = {"rss_mib": "{:.1f}", "descriptors": "{:.0f}", "objects": "{:.0f}"}
    lines = [head]
    for pair in results.values:
        grown = [results.growth(pair, figure) for figure in forms]
        cells = [
            f"{form.format(each[0])} → {form.format(each[1])}" if each else ""
            for form, each in zip(forms.values(), grown, strict=True)
        ]
        counts = [results.median(pair, figure) for figure in ("connections", "refused")]
        lines.append([pair, *cells, *("" if count is None else f"{count:.0f}" for count in counts)])
    return lines if len(lines) > 1 else []


def plain(lines: Sequence[Sequence[str]]) -> str:
    """Return a table for a terminal."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(rest, widths[1:], strict=True))])
        for first, *rest in lines
    )


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """Return a table for a page."""
    head, *body = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([head, f"|---|{'---:|' * (len(lines[0]) - 1)}", *body])
