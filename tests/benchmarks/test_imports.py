"""The table of what imports cost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.imports import Cost, Watch, package

ROOT = Path(__file__).parents[2]


class ImportsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        (self.folder / "outer").mkdir(parents=True)
        (self.folder / "outer/__init__.py").write_text("import inner\nimport outer.part\n")
        (self.folder / "outer/part.py").write_text("")
        (self.folder / "inner.py").write_text("held = bytearray(64 << 20)\n")

    def test_a_module_counts_for_itself_and_not_for_what_it_imports(self) -> None:
        command = [sys.executable, "-m", "benchmarks.imports", "outer"]
        path = f"{ROOT}:{self.folder.absolute()}"
        done = subprocess.run(command, env={"PYTHONPATH": path}, capture_output=True, text=True, check=True)
        rows = {line[:24].strip(): line[24:].split() for line in done.stdout.splitlines()}
        self.assertEqual([rows[name][0] for name in ("inner", "outer", "all of them")], ["1", "2", "3"])
        self.assertGreaterEqual(float(rows["inner"][2]), 64)
        self.assertLess(float(rows["outer"][2]), 32)
        self.assertGreaterEqual(float(rows["all of them"][2]), 64)

    def test_our_rooms_are_apart(self) -> None:
        for module, row in (("meshtx.net.dial", "meshtx.net"), ("meshtx", "meshtx"), ("h2.events", "h2")):
            self.assertEqual(package(module), row)

    def test_nothing_is_found_that_python_does_not_find(self) -> None:
        watch = Watch()
        self.assertIsNone(watch.find_spec("meshtx_that_is_none", None))
        self.assertEqual(sum(watch.packages.values(), Cost()), Cost())
