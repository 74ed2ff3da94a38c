"""What every file of the repository keeps to, and what its pages promise."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from configparser import ConfigParser
from dataclasses import fields
from importlib.metadata import packages_distributions
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase, TestCase

import tests
from meshtx.config import IdentityConfig, ProxyConfig, settings
from meshtx.kube.annotations import Resources
from meshtx.kube.settings.directory import DirectoryConfig
from meshtx.kube.settings.injector import InjectorConfig

ROOT = Path(__file__).parent.parent
FOLDERS = ("meshtx", "twisted", "tests", "tools", "examples", "benchmarks")
MAX_LINES = 400
CONFIGS = (ProxyConfig, IdentityConfig, DirectoryConfig, InjectorConfig)


def python_files(*folders: str) -> list[Path]:
    found = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return sorted(path for path in found if not path.name.endswith("_pb2.py"))


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def named(requirement: str) -> str:
    """Return a requirement's project in the one spelling (PyPA, "Names and normalization")."""
    return re.sub(r"[-_.]+", "-", re.split(r"[<>=!~\[; ]", requirement)[0]).lower()


class TestSources(SynchronousTestCase):
    def test_no_file_is_longer_than_400_lines(self) -> None:
        lines = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in python_files(*FOLDERS)}
        self.assertEqual({path: count for path, count in lines.items() if count > MAX_LINES}, {})

    def test_no_test_is_left_out(self) -> None:
        """A machine that cannot run one says so with SkipTest, in the test; nothing else leaves one out."""
        words = re.compile(r"^\s*@(unittest\.)?skip|\.(skip|todo) = ", re.MULTILINE)
        self.assertEqual([path.name for path in python_files("tests") if words.search(path.read_text())], [])

    def test_no_coroutine_is_a_test_of_a_synchronous_case(self) -> None:
        """trial calls it, gets a coroutine, and reports a success without having run it."""
        never_run = []
        for module in pkgutil.walk_packages(tests.__path__, "tests."):
            for name, case in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
                if issubclass(case, SynchronousTestCase) and not issubclass(case, TestCase):
                    methods = inspect.getmembers(case, inspect.iscoroutinefunction)
                    never_run += [f"{module.name}.{name}.{method}" for method, _ in methods if method[:4] == "test"]
        self.assertEqual(never_run, [])

    def test_every_folder_of_tests_is_a_package(self) -> None:
        """trial would not look into another."""
        folders = {path.parent for path in python_files("tests") if path.name.startswith("test_")}
        self.assertEqual([folder for folder in folders if not (folder / "__init__.py").is_file()], [])

    def test_every_mutant_applies(self) -> None:
        """A change to a guarded line takes its patch along; `make mutants` would say so much later."""
        patches = sorted(map(str, (ROOT / "tests" / "mutants").glob("*.patch")))
        done = subprocess.run(
            ["git", "apply", "--check", *patches], cwd=ROOT, capture_output=True, text=True, check=False
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_every_setting_is_read_by_something(self) -> None:
        read_somewhere = {
            node.attr
            for path in python_files("meshtx")
            if not path.name.startswith("config")
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Attribute)
        }
        derived = {"control_namespace", "trust_domain", "name"}  # read as `scope` and `own_name`
        derived |= {f"proxy_{each.name}" for each in fields(Resources)}  # read as `resources`
        keys = {each.key for config in CONFIGS for each in settings(config)}
        self.assertEqual(keys - read_somewhere - derived, set())


class TestDependencies(SynchronousTestCase):
    def setUp(self) -> None:
        setup = ConfigParser()
        setup.read(ROOT / "setup.cfg")
        self.required = self.projects(setup["options"]["install_requires"])
        self.optional = self.projects(setup["options.extras_require"]["kubernetes"])

    def projects(self, requirements: str) -> set[str]:
        return {named(line) for line in requirements.split("\n") if line.strip() and not line.startswith("#")}

    def test_what_is_imported_is_required_and_the_other_way_round(self) -> None:
        projects = packages_distributions()
        imported = set()
        for path in python_files("meshtx", "twisted"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                imported |= {name.split(".")[0] for name in names}
        outside = imported - set(sys.stdlib_module_names) - {"meshtx"}
        # top-level names of several projects; twisted/plugins is ours too
        shared = {"google": "protobuf", "zope": "zope-interface", "twisted": "twisted"}
        used = {shared.get(name) or named(projects[name][0]) for name in outside}
        self.assertEqual(used - self.optional, self.required)

    def test_each_dependency_has_its_reason(self) -> None:
        architecture = read("ARCHITECTURE.md").lower()
        reasons = {named(row) for row in re.findall(r"^\| ([\w.-]+) \|", architecture, re.MULTILINE)}
        self.assertEqual((self.required | self.optional) - reasons, set())


class TestPages(SynchronousTestCase):
    def test_the_readme_begins_with_the_two_commands(self) -> None:
        blocks = re.findall(r"```(?:sh|console)?\n(.*?)```", read("README.md"), re.DOTALL)
        self.assertIn("make demo", blocks[0])
        self.assertIn("make test", blocks[0])

    def test_make_help_lists_every_target(self) -> None:
        makefile = read("Makefile")
        (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
        self.assertEqual(re.findall(r"^([a-z-]+):.* ## ", makefile, re.MULTILINE), phony.split())

    def test_the_map_shows_every_room(self) -> None:
        architecture = read("ARCHITECTURE.md")
        rooms = [path.parent.name for path in (ROOT / "meshtx").glob("*/__init__.py")]
        self.assertEqual([room for room in rooms if f"`{room}/`" not in architecture], [])

    def test_every_link_between_pages_leads_somewhere(self) -> None:
        pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md"), *(ROOT / "examples").glob("**/*.md")]
        dead = [
            f"{page.name}: {link}"
            for page in pages
            for link in re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", page.read_text())
            if not (page.parent / link).exists()
        ]
        self.assertEqual(dead, [])

    def test_every_page_that_the_sources_name_exists(self) -> None:
        named_there = {
            page for path in python_files("meshtx") for page in re.findall(r"\bdocs/[\w-]+\.md", path.read_text())
        }
        self.assertEqual({page for page in named_there if not (ROOT / page).is_file()}, set())

    def test_every_option_that_the_pages_name_exists(self) -> None:
        variables = {each.variable for config in CONFIGS for each in settings(config)}
        variables |= {config.prefix + "CONFIG" for config in CONFIGS}
        pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md")]
        named_there = {
            word
            for page in pages
            for word in re.findall(r"\bMESHTX_(?:PROXY|IDENTITY|DIRECTORY|INJECTOR)_[A-Z_]*[A-Z]\b", page.read_text())
        }
        self.assertEqual(named_there - variables, set())

    def test_fragments_are_named_as_towncrier_reads_them(self) -> None:
        pattern = re.compile(
            r"\d+(\.\d+)?\.(feature|bugfix|security|removal|doc)\.md|\+[\w-]+\.(feature|doc)\.md|README\.md"
        )
        names = [path.name for path in (ROOT / "newsfragments").iterdir() if not path.name.startswith(".")]
        self.assertEqual([name for name in names if not pattern.fullmatch(name)], [])
