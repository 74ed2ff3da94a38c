"""What the benchmarks write: tables, pages, the plot, and the record that they are made from."""

import platform
import re
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import __main__ as command
from benchmarks import pages, peers, plot, table
from benchmarks.peers.meshtx import Meshtx
from benchmarks.peers.peer import Place
from benchmarks.record import Record, built
from benchmarks.results import Results
from meshtx.directory.document import parse
from meshtx.errors import ConfigError

FOUND = Results(
    {
        "meshtx": {"request_cpu_us": [20.0, 30.0, 25.0], "legs_found": [0.5]},
        "envoy-tcp": {"request_cpu_us": [10.0, 30.0, 25.0]},
    }
)
CHURN = Results(
    {"legs, inbound": {"at_s": [1.0, 2.0], "rss_mib": [5.0, 6.0], "descriptors": [7, 7], "objects": [8, 9]}}
)


def place(folder: Path) -> Place:
    roles = ("client", "server", "operator")
    names = {f"{role}_{what}": f"{role}-{what}" for role in roles for what in ("chain", "key", "pem")}
    identities = {f"{role}_name": f"{role}.bench.serviceaccount.identity.meshtx.cluster.local" for role in roles}
    return Place("pair", 3, 8000, folder, {"ca": "ca.crt", **names, **identities})


class TestTable(SynchronousTestCase):
    def test_a_cell_has_the_median_and_the_ratio_to_the_reference(self) -> None:
        self.assertEqual(
            table.PAIRS.cells(FOUND),
            [
                ["", "meshtx", "envoy-tcp"],
                ["CPU µs a request, kept alive", "25.0 (1.00)", "25.0 (1.00)"],
                ["connections that found a leg", "50.0%", ""],
            ],
        )

    def test_only_pairs_that_were_measured_are_columns(self) -> None:
        self.assertEqual(table.PAIRS.cells(FOUND, ("nginx", "meshtx"))[0], ["", "meshtx"])

    def test_columns_are_aligned(self) -> None:
        self.assertEqual(table.plain([["", "a"], ["what", "1.0"]]), "        a\nwhat  1.0")

    def test_a_page_has_it_as_markdown(self) -> None:
        self.assertEqual(table.markdown([["", "a"], ["what", "1.0"]]), "|  | a |\n|---|---:|\n| what | 1.0 |")


class TestPages(SynchronousTestCase):
    def test_what_stands_between_the_marks_is_replaced(self) -> None:
        page = f"before\n{pages.BEGIN}\nold\n{pages.END}\nbehind"
        self.assertEqual(pages.filled(page, "n\\1ew"), f"before\n{pages.BEGIN}\nn\\1ew\n{pages.END}\nbehind")

    def test_a_page_without_marks_is_an_error(self) -> None:
        with self.assertRaises(ConfigError):
            pages.filled("nothing", "new")

    def test_both_pages_have_their_marks(self) -> None:
        for page in (pages.SHORT, pages.LONG):
            self.assertIn("new", pages.filled(page.read_text(), "new"))

    def test_every_section_that_was_measured_is_on_the_long_page(self) -> None:
        said = pages.long(Record({"CPU": "some"}, FOUND, Results({"little": {"tapped": [1.0]}}), CHURN))
        for expected in ("CPU some", "25.0 (1.00)", "100.0%", "legs, inbound", "churn.svg"):
            self.assertIn(expected, said)


class TestPlot(SynchronousTestCase):
    def test_each_figure_is_a_panel_and_each_series_a_line(self) -> None:
        drawing = ElementTree.fromstring(pages.plot(CHURN))
        self.assertEqual(len(drawing.findall(".//{*}polyline")), 3)

    def test_a_line_goes_from_the_left_to_the_right(self) -> None:
        drawn = plot.svg([plot.Panel("a & b", {"x": [(0, 0), (10, 100)]})], "seconds")
        (points,) = re.findall('points="([^"]*)"', drawn)
        self.assertEqual(points, "80.0,190.0 710.0,44.5")
        self.assertIn("a &amp; b", drawn)

    def test_nothing_is_drawn_of_nothing(self) -> None:
        ElementTree.fromstring(plot.svg([plot.Panel("empty", {"x": []})], "seconds"))


class TestRecord(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()) / "results.json"

    def test_it_is_read_as_it_was_written(self) -> None:
        record = Record({"CPU": "some"}, FOUND, churn=CHURN)
        record.save(self.path)
        self.assertEqual(Record.load(self.path), record)

    def test_a_file_that_is_none_is_an_error(self) -> None:
        with self.assertRaises(ConfigError):
            Record.load(self.path)
        self.path.parent.mkdir()
        for text in ("{", "{}", "[]", '{"pairs": []}'):
            self.path.write_text(text)
            with self.assertRaises(ConfigError):
                Record.load(self.path)

    def test_what_would_be_in_the_way_of_writing_is_found_before_anything_is_measured(self) -> None:
        self.patch(command, "measure", self.fail)
        bad = self.path.parent / "bad"
        Record({}).save(self.path)
        bad.write_text("{}")
        for options in (("--json", f"{self.path}/below"), ("--json", str(bad.parent)), ("--json", str(bad), "--keep")):
            said = StringIO()
            with redirect_stderr(said):
                self.assertEqual(command.main(options), 2)
            self.assertRegex(said.getvalue(), r"\Abenchmarks: [^\n]+; name [^\n]+\n\Z")

    def test_there_is_no_measuring_for_no_time(self) -> None:
        for option in ("--rounds=0", "--seconds=-1", "--churn-seconds=nan"):
            with redirect_stderr(StringIO()):
                self.assertRaises(SystemExit, command.arguments, [option])

    def test_sections_are_kept_whole(self) -> None:
        record = Record({}, FOUND)
        record.take(Record({}, Results({"old": {"x": [1.0]}}), churn=CHURN))
        self.assertEqual((record.pairs, record.churn), (FOUND, CHURN))

    def test_what_it_is_about_comes_with_the_pairs(self) -> None:
        record = Record({"rounds": "1"}, churn=CHURN)
        record.take(Record({"rounds": "5"}, FOUND))
        self.assertEqual(record.about, {"rounds": "5"})


class TestBuilt(SynchronousTestCase):
    """What an interpreter says about itself: of one that a distribution has built, only that."""

    def test_the_options_that_make_it_fast_are_told(self) -> None:
        for configured, said in (
            ("'--enable-shared'", "configured without --enable-optimizations and without --with-lto"),
            ("'--with-lto' '--enable-optimizations'", "configured with --enable-optimizations and with --with-lto"),
        ):
            self.assertEqual(built("/opt/python", configured), said)

    def test_those_of_a_distribution_are_not_believed(self) -> None:
        self.patch(platform, "freedesktop_os_release", lambda: {"PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)"})
        self.assertEqual(built("/usr", "'--with-lto'"), "as Debian GNU/Linux 12 (bookworm) builds it")


class TestPeers(SynchronousTestCase):
    def test_every_configuration_can_be_filled(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        there = place(folder)
        for template in (Path(peers.__file__).parent).glob("*/*bound.*"):
            self.assertNotIn("${", there.fill(template).read_text())

    def test_the_directory_has_as_many_entries_as_asked(self) -> None:
        there = place(Path())
        text = Meshtx(opaque=True, entries=300).directory(there)
        parse(text, "test")
        self.assertEqual(text.count("[[workload]]"), 301)
        self.assertIn('addresses = ["10.0.1.43"]', text)
        self.assertTrue(text.startswith("opaque_ports = [8000]"))
