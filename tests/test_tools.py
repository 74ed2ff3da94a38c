"""The tools that judge the tests: they must not say that all is well when it is not."""

import io
import pkgutil
from contextlib import closing, redirect_stdout
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import tests
from tools import mutants
from tools.mutants import BadPatch, Mutant, Trials, apply, attempt, main, read
from tools.run_tests import CLUSTER, IN_USER_NAMESPACE, ON_OUR_REACTOR, Run, counts, failures, runs

SOURCE = "def answer():\n    return 42\n"
TEST = """
from twisted.trial.unittest import SynchronousTestCase
from source import answer


class T(SynchronousTestCase):
    def test_answer(self):
        self.assertEqual(answer(), 42)

    def test_nothing(self):
        pass
"""


def patch(new: str, test: str = "check.T.test_answer", old: str = "    return 42") -> str:
    return (
        f"The answer is another.\nKills: {test}\n--- a/source.py\n+++ b/source.py\n@@ -1,2 +1,2 @@\n"
        f" def answer():\n-{old}\n+{new}\n"
    )


class TestCounts(SynchronousTestCase):
    def test_each_way_a_run_can_end(self) -> None:
        for line, expected in (
            ("PASSED (successes=7)", (7, 0, 0)),
            ("PASSED (skips=1, successes=7)", (7, 0, 1)),
            ("PASSED (expectedFailures=1, successes=7)", (8, 0, 0)),
            ("FAILED (skips=1, failures=2, errors=3, successes=7)", (7, 5, 1)),
            ("FAILED (unexpectedSuccesses=1)", (0, 1, 0)),
            ("PASSED", (0, 0, 0)),
            ("Killed", (0, 0, 0)),
        ):
            self.assertEqual(counts(f"Ran 7 tests in 1s\n\n{line}\n"), expected, line)

    def test_the_last_result_counts(self) -> None:
        """A test may run trial itself and print what that says."""
        self.assertEqual(counts("PASSED (successes=9)\nFAILED (failures=1)\n"), (0, 1, 0))


class TestFailures(SynchronousTestCase):
    def test_each_kind_is_told_with_its_tests_and_nothing_else_is(self) -> None:
        reports = ["FAIL]\nTraceback\n1 != 2\n\nt.T.test_a\nt.T.test_b\n", "ERROR]\nOSError\n\nt.T.test_c\n"]
        told = [f"[{report}" for report in (*reports, "SUCCESS!?!]\nReason: none\n\nt.T.test_d\n")]
        sections = ["[SKIPPED]\nbecause\n\nt.T.test_s\n", *told]
        report = "".join(f"{'=' * 79}\n{section}" for section in sections)
        output = f"t\n    test_a ... [FAIL]\n\n{report}{'-' * 79}\nRan 5 tests in 1s\n\nFAILED (failures=2)\n"
        self.assertEqual(failures(output), told)

    def test_a_run_without_any(self) -> None:
        self.assertEqual(failures("t\n    test_a ... [OK]\n\nRan 1 tests in 1s\n\nPASSED (successes=1)\n"), [])


class TestRuns(SynchronousTestCase):
    def test_everything_is_run_and_what_needs_kubernetes_last(self) -> None:
        modules = pkgutil.iter_modules(tests.__path__)
        everything = {f"tests.{each.name}" for each in modules if each.ispkg or each.name.startswith("test_")}
        everything.remove(CLUSTER)  # `make cluster-test` runs it
        planned = runs([])
        self.assertEqual(planned[-1].tests, ["tests.kube"])
        named = [name for run in planned if run.tests is not ON_OUR_REACTOR for name in run.tests]
        self.assertEqual((set(named), len(named)), (everything, len(set(named))))

    def test_what_is_named_is_run_alone(self) -> None:
        self.assertEqual(runs(["tests.net"], as_own_root=True), [Run(["tests.net"])])

    def test_whole_programs_are_run_once_by_an_ordinary_user_too(self) -> None:
        prefixes = [run.prefix for run in runs([], as_own_root=True) if "tests.mesh" in run.tests]
        self.assertEqual(prefixes, [IN_USER_NAMESPACE])


class TestMutants(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.root = self.folder / "root"
        self.root.mkdir(parents=True)
        (self.root / "source.py").write_text(SOURCE)
        (self.root / "check.py").write_text(TEST)

    def mutant(self, text: str) -> Mutant:
        path = self.folder / "one.patch"
        path.write_text(text)
        return read(path)

    def verdict(self, text: str) -> tuple[str, bool]:
        with closing(Trials(self.folder / "output")) as trials:
            outcome = attempt(self.mutant(text), self.folder, self.root, trials)
        self.assertEqual((self.root / "source.py").read_text(), SOURCE)
        return outcome.verdict, outcome.good

    def test_a_mutant_that_its_test_notices_is_dead(self) -> None:
        self.assertEqual(self.verdict(patch("    return 43")), ("killed", True))

    def test_a_mutant_that_its_test_does_not_notice_lives(self) -> None:
        self.assertEqual(self.verdict(patch("    return 43", "check.T.test_nothing")), ("SURVIVED", False))

    def test_a_patch_that_breaks_the_source_proves_nothing(self) -> None:
        self.assertEqual(self.verdict(patch("    return (")), ("no test ran: SyntaxError", False))
        self.assertEqual(self.verdict(patch("    return fortytwo")), ("no test ran: builtins.NameError", False))

    def test_a_mutant_that_hangs_is_dead_and_the_next_one_is_tried(self) -> None:
        self.patch(mutants, "TIMEOUT", 1)
        (self.root / "check.py").write_text(TEST.replace("pass", "import time; time.sleep(60 * (answer() == 43))"))
        with closing(Trials(self.folder / "output")) as trials:
            hangs = self.mutant(patch("    return 43", "check.T.test_nothing"))
            self.assertEqual(attempt(hangs, self.folder, self.root, trials).verdict, "killed")
            lives = self.mutant(patch("    return 44", "check.T.test_nothing"))
            self.assertEqual(attempt(lives, self.folder, self.root, trials).verdict, "SURVIVED")

    def test_a_patch_for_another_source_proves_nothing(self) -> None:
        verdict, good = self.verdict(patch("    return 43", old="    return 41"))
        self.assertEqual((verdict.partition(":")[0], good), ("does not apply", False))

    def test_a_patch_does_not_reach_a_repository_around_the_copy(self) -> None:
        (self.folder / ".git").mkdir()
        apply(self.mutant(patch("    return 43")).path, self.root)
        self.assertIn("43", (self.root / "source.py").read_text())

    def test_the_whole_run(self) -> None:
        killed, alive = self.folder / "killed.patch", self.folder / "alive.patch"
        killed.write_text(patch("    return 43"))
        alive.write_text(patch("    return 43", "check.T.test_nothing"))
        for patches, status, last in (([killed], 0, "1 killed, 0 not"), ([alive, killed], 1, "1 killed, 1 not")):
            out = io.StringIO()
            with redirect_stdout(out):
                self.assertEqual(main([str(path) for path in patches], self.root), status)
            lines = out.getvalue().splitlines()
            self.assertEqual(lines[-1], last)
        self.assertTrue(lines[-3].startswith("alive "), "what is to be mended is read last")

    def test_tests_that_fail_anyway_prove_nothing(self) -> None:
        path = self.folder / "one.patch"
        path.write_text(patch("    return 43", "check.T.test_misspelt"))
        out = io.StringIO()
        with redirect_stdout(out):
            self.assertEqual(main([str(path)], self.root), 1)
        self.assertIn("nothing can be said", out.getvalue())

    def test_a_patch_says_what_it_removes_and_which_test_sees_it(self) -> None:
        text = patch("    return 43")
        for bad in (text.replace("Kills:", "Sees:"), text.partition("\n")[2]):
            self.assertRaises(BadPatch, self.mutant, bad)
        self.assertRaises(BadPatch, main, ["nowhere.patch"], self.root)
