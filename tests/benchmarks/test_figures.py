"""What the benchmarks make of their values: percentiles, medians, ratios, bars."""

import os
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import accounting
from benchmarks.bars import BARS, Flat, Most, Ratio, judged
from benchmarks.load.percentiles import percentiles
from benchmarks.measures.requests import read
from benchmarks.record import Record
from benchmarks.results import Results
from benchmarks.table import PAIRS, SCALE
from meshtx.demo.lab import LabError

WRK = """Running 2s test @ http://127.1.0.1:4140/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.04ms    6.17ms  67.48ms   96.13%
    Req/Sec    34.69k     7.76k   40.49k    90.91%
  Latency Distribution
     50%  783.00us
     75%    0.95ms
     90%    1.61ms
     99%    1.02s
  37917 requests in 1.10s, 42.45MB read
  Socket errors: connect 0, read 1, write 2, timeout 3
  Non-2xx or 3xx responses: 4
Requests/sec:  34463.01
Transfer/sec:     38.59MB
"""


def results(**pairs: dict[str, list[float]]) -> Results:
    return Results({name.replace("_", "-"): figures for name, figures in pairs.items()})


class TestPercentiles(SynchronousTestCase):
    def test_each_is_the_value_that_so_many_lie_below(self) -> None:
        self.assertEqual(percentiles(range(1000, 0, -1)), {"p50": 501, "p90": 901, "p99": 991, "p99.9": 1000})

    def test_one_value_is_all_of_them(self) -> None:
        self.assertEqual(percentiles([7]), dict.fromkeys(("p50", "p90", "p99", "p99.9"), 7))

    def test_no_values_have_none(self) -> None:
        self.assertEqual(percentiles([]), {})


class TestWrk(SynchronousTestCase):
    def test_its_report_is_read_in_microseconds(self) -> None:
        self.assertEqual(
            read(WRK),
            {
                "p50": 783.0,
                "p75": 950.0,
                "p90": 1610.0,
                "p99": 1_020_000.0,
                "requests": 37917,
                "per_second": 34463.01,
                "failed": 10,
            },
        )

    def test_what_is_no_report_is_an_error_that_shows_it(self) -> None:
        with self.assertRaisesRegex(LabError, "unable to connect"):
            read("unable to connect to 127.1.0.1:4140")


class TestResults(SynchronousTestCase):
    def test_a_ratio_is_of_values_of_one_round(self) -> None:
        """The machine was slow in the second: the ratio of the medians would be 2.5."""
        found = results(ours={"cpu": [10, 100, 20]}, theirs={"cpu": [10, 50, 8]})
        self.assertEqual(found.ratio("ours", "theirs", "cpu"), 2)

    def test_the_best_has_the_least(self) -> None:
        found = results(a={"cpu": [3]}, b={"cpu": [2, 9, 2]}, c={"other": [1]})
        self.assertEqual(found.best(("a", "b", "c"), "cpu"), "b")
        self.assertIsNone(found.best(("c",), "cpu"))

    def test_what_was_not_measured_has_no_figures(self) -> None:
        found = results(a={"cpu": [3]})
        self.assertEqual(
            (found.median("a", "x"), found.ratio("a", "b", "cpu"), found.growth("a", "cpu")), (None, None, None)
        )

    def test_growth_leaves_the_start_out(self) -> None:
        values: list[float] = [0, 1, 51, 50, 60, 61, 70, 71, 80, 81]
        self.assertEqual(results(a={"rss": values}).growth("a", "rss"), (50, 80))


class TestBars(SynchronousTestCase):
    def test_where_a_difference_is_below_zero_medians_are_compared(self) -> None:
        """Of rounds alone that have a ratio the last would be left, which is the worst."""
        found = results(ours={"added": [-1, 3, 12]}, theirs={"added": [2, -2, 2]}, none={"added": [-1, 0, 1]})
        self.assertEqual(found.ratio("ours", "theirs", "added"), 1.5)
        self.assertIsNone(found.ratio("ours", "none", "added"))

    def test_a_ratio_is_told_with_its_figures(self) -> None:
        record = Record({}, results(ours={"cpu": [30]}, good={"cpu": [20]}, bad={"cpu": [40]}))
        lines = [Ratio(1, "CPU", "ours", "cpu", most, ("bad", "good")).judge(record) for most in (1.5, 1.4, None)]
        figures = "CPU: 1.50 x good (ours 30, good 20)"
        self.assertEqual(
            lines, [f"PASS   1  {figures}, at most 1.5", f"FAIL   1  {figures}, at most 1.4", f"shown  1  {figures}"]
        )

    def test_an_absolute_figure_is_compared_with_its_bound(self) -> None:
        record = Record({}, results(ours={"mib": [49, 51, 60]}))
        self.assertEqual(Most(4, "MiB", "ours", "mib", 50).judge(record), "FAIL   4  MiB: 51.0, at most 50")

    def test_growth_of_what_goes_with_something_else(self) -> None:
        values = [float(each) for each in range(1, 101)]
        found = results(a={"objects": [40 * each for each in values], "descriptors": values})
        self.assertEqual(found.growth("a", "objects", per="descriptors"), (40, 40))
        line = Flat(4, "objects", "objects", 1.05, per="descriptors").judge(Record({}, churn=found))
        self.assertTrue(line is not None and line.startswith("PASS"), line)

    def test_the_worst_growth_counts(self) -> None:
        churn = results(a={"rss": [10.0] * 10}, b={"rss": [10.0] * 5 + [12.0] * 5}, c={"connections": [1]})
        line = Flat(4, "memory", "rss", 1.1).judge(Record({}, churn=churn))
        self.assertEqual(line, "FAIL   4  memory: 1.200 times (10 to 12, b), at most 1.1")

    def test_what_was_not_measured_is_not_judged(self) -> None:
        self.assertEqual(judged(Record({})), [])

    def test_every_bar_is_of_a_figure_that_the_tables_show(self) -> None:
        shown = {row.figure for table in (PAIRS, SCALE) for row in table.rows}
        named = {bar.figure for bar in BARS if isinstance(bar, Ratio | Most)}
        self.assertEqual(named - shown, set())


class TestAccounting(SynchronousTestCase):
    def test_cpu_time_is_that_of_the_process(self) -> None:
        begun = time.process_time()
        found = accounting.cpu_seconds(os.getpid())
        self.assertTrue(begun <= found <= time.process_time())

    def test_of_that_the_kernels_is_in_seconds_too(self) -> None:
        before = os.times().system
        found = accounting.kernel_seconds(os.getpid())
        self.assertTrue(before <= found <= os.times().system)

    def test_a_descriptor_more_is_one_more(self) -> None:
        before = accounting.descriptors(os.getpid())
        with Path(os.devnull).open():
            self.assertEqual(accounting.descriptors(os.getpid()), before + 1)

    def test_memory_is_in_bytes(self) -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.assertApproximates(accounting.resident(os.getpid()), pages * os.sysconf("SC_PAGESIZE"), 64 * 2**20)
