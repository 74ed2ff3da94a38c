"""No page, help, hint or check names a setting that cannot be set in the place that it is named for."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
from twisted.trial.unittest import SynchronousTestCase

from meshtx.cli.main import COMMANDS, meshtx
from meshtx.config import IdentityConfig, ProxyConfig, settings
from meshtx.config_load import ProgramConfig
from meshtx.config_options import options_class
from meshtx.kube.adoption import LINKERD_PREFIX
from meshtx.kube.annotations import PORT_LISTS, SETTINGS
from meshtx.kube.pod_settings import PREFIX
from meshtx.kube.settings.directory import DirectoryConfig
from meshtx.kube.settings.injector import InjectorConfig
from meshtx.kube.settings.install import InstallConfig

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SOURCES = sorted(path for path in (ROOT / "meshtx").rglob("*.py") if not path.name.endswith("_pb2.py"))

PROGRAMS: tuple[type[ProgramConfig], ...] = (ProxyConfig, IdentityConfig, DirectoryConfig, InjectorConfig)
CONFIGS = (*PROGRAMS, InstallConfig)

SEVERAL_WORDS = re.compile(r"\b[a-z]+(?:_[a-z]+)+\b")
"""A name such as ``tap_listen``; one word alone may be just that."""


def keys(config: type[ProgramConfig]) -> set[str]:
    return {each.key for each in settings(config)}


def strings(tree: ast.AST) -> Iterator[str]:
    """Give each text that the code has, without docstrings and other comments."""
    comments = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in comments:
            yield node.value


def hints(tree: ast.AST) -> Iterator[str]:
    """Give the texts of each `ConfigError`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "ConfigError":
            for argument in node.args:
                yield from strings(argument)


def parsed(path: Path) -> ast.AST:
    return ast.parse(path.read_text("utf-8"))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), re.DOTALL)


def place(path: Path) -> str:
    return str(path.relative_to(ROOT))


class AnnotationTests(SynchronousTestCase):
    """In a cluster a pod's author has annotations and nothing else."""

    def test_each_that_is_named_can_be_set(self) -> None:
        known = {PREFIX + each for each in SETTINGS} | {LINKERD_PREFIX + each for each in PORT_LISTS}
        named = re.compile(r"config\.(?:meshtx|linkerd)\.io/[a-z][a-z-]*")
        unknown = [
            f"{place(path)}: {name}"
            for path in [*PAGES, *SOURCES]
            for name in named.findall(path.read_text("utf-8"))
            if name not in known
        ]
        self.assertEqual(unknown, [])

    def test_the_page_has_them_all(self) -> None:
        page = (ROOT / "docs/kubernetes.md").read_text("utf-8")
        (table,) = re.findall(r"\| annotation \| value \|\n(.*?)\n\n", page, re.DOTALL)
        firsts = [row.split("|")[1] for row in table.splitlines()]
        self.assertEqual({name for first in firsts for name in re.findall("`(.*?)`", first)}, set(SETTINGS))

    def test_what_users_of_a_cluster_are_told_has_no_name_out_of_a_file(self) -> None:
        of_files = keys(ProxyConfig) - keys(DirectoryConfig) - keys(InjectorConfig) - keys(InstallConfig)
        self.assertIn("proxy_protocol_from", of_files)
        named = [
            f"{place(path)}: {name}"
            for path in SOURCES
            if path.is_relative_to(ROOT / "meshtx/kube")
            for text in strings(parsed(path))
            for name in SEVERAL_WORDS.findall(text)
            if name in of_files
        ]
        self.assertEqual(named, [])


class FileTests(SynchronousTestCase):
    def test_the_help_of_a_program_names_its_own_settings(self) -> None:
        for config in CONFIGS:
            named = {name for each in settings(config) for name in SEVERAL_WORDS.findall(each.help)}
            self.assertEqual(named - keys(config), set(), config.program)

    def test_hints_name_settings(self) -> None:
        known = set().union(*map(keys, CONFIGS))
        kernel = ROOT / "meshtx/net/redirect.py"  # which names its modules
        unknown = [
            f"{place(path)}: {name}"
            for path in SOURCES
            if path != kernel
            for text in hints(parsed(path))
            for name in SEVERAL_WORDS.findall(text)
            if name not in known
        ]
        self.assertEqual(unknown, [])

    def test_files_on_pages_are_read_by_something(self) -> None:
        for page in PAGES:
            for block in blocks(page, "toml"):
                written = tomllib.loads(block).keys()
                readers = [*map(keys, CONFIGS), {"mesh", "workload"}]  # the last one is of a directory
                self.assertTrue(any(written <= known for known in readers), f"{place(page)}: {block}")


class CommandTests(SynchronousTestCase):
    def test_flags_on_pages_are_the_commands(self) -> None:
        command = re.compile(r"\b(meshtx|twistd) ([a-z]+)((?: [^`|\n]*?\\\n| [^`|\n]+)*)")
        unknown, seen = [], 0
        for page in PAGES:
            for program, name, rest in command.findall(page.read_text("utf-8")):
                words = rest.split(" -- ")[0].split()
                flags = of_twistd(name) if program == "twistd" else of_meshtx([name, *words])
                for flag in {word.partition("=")[0] for word in words if flags and word.startswith("--")}:
                    seen += 1
                    unknown += [] if flag in flags else [f"{place(page)}: {program} {name} {flag}"]
        self.assertEqual(unknown, [])
        self.assertGreater(seen, 20)

    def test_variables_on_pages_are_settings(self) -> None:
        known = {each.variable for config in CONFIGS for each in settings(config)}
        known |= {f"{config.prefix}CONFIG" for config in CONFIGS}
        known |= {each.envvar for name in COMMANDS for each in params([name])}
        unknown = [
            f"{place(page)}: {name}"
            for page in PAGES
            for name in re.findall(r"MESHTX_[A-Z_]*[A-Z](?!\w)", page.read_text("utf-8"))
            if name not in known
        ]
        self.assertEqual(unknown, [])


def of_twistd(program: str) -> set[str]:
    """Return the flags of a program."""
    (config,) = [each for each in PROGRAMS if each.program == program]
    return {f"--{name.rstrip('=')}" for name in options_class(config)().longOpt}


def of_meshtx(words: list[str]) -> set[str]:
    """Return the flags of a command, none if there is no such one: it is English."""
    passed_on = params(["redirect", "apply"]) if words[:2] == ["unit", "redirect"] else []
    flags = {flag for each in [*params(words), *passed_on] for flag in (*each.opts, *each.secondary_opts)}
    return flags and {*flags, "--help"}


def params(words: list[str]) -> list[click.Parameter]:
    """Return the parameters of a command and of its subcommand."""
    command: click.Command | None = meshtx
    found = []
    for word in words:
        command = command.get_command(click.Context(command), word) if isinstance(command, click.Group) else None
        found += command.params if command else []
    return found
