"""The command line finds its commands, and says in one line what went wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import IO

import click
from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

import meshtx
from meshtx import __version__
from meshtx.cli import main
from meshtx.cli.options import PathType
from meshtx.errors import ConfigError, CredentialsError


def python(code: str, stdout: IO[bytes] | int = subprocess.PIPE) -> subprocess.Popen[str]:
    """Start an interpreter that finds meshtx where we have it from."""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(meshtx.__file__).parents[1])},
    )


def leaves(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Return the commands that have none below them, each with the words that call it."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from leaves(below, (*path, name))
    else:
        yield path, command


def parameters() -> Iterator[tuple[str, click.Command, click.Parameter]]:
    """Return what each command takes, behind the words that name it."""
    for path, command in leaves(main.meshtx, ("meshtx",)):
        for parameter in command.params:
            yield " ".join((*path, parameter.opts[0])), command, parameter


class Case(SynchronousTestCase):
    def run_line(self, *arguments: str) -> tuple[int, str, str]:
        """Return exit status, standard output and standard error."""
        with CliRunner().isolation() as (out, err, _):
            status = main.run(arguments)
            return status, out.getvalue().decode(), err.getvalue().decode()

    def command(self, action: Callable[[], object], name: str = "why") -> None:
        """Put a command in the place of one of ours."""
        module = ModuleType(f"meshtx.cli.{name}")
        module.command = click.command(name)(action)  # type: ignore[attr-defined]
        self.patch(main, "find_spec", lambda found: True)
        self.patch(main, "import_module", lambda found: module)


class HelpTests(Case):
    def test_an_option_is_told_in_words_for_users(self) -> None:
        odd = [
            f"{where} {shown}"
            for where, command, parameter in parameters()
            if (shown := parameter.make_metavar(click.Context(command))).startswith("_")
        ]
        self.assertEqual(odd, [])


class PathTests(Case):
    def test_every_path_is_of_the_kind_that_refuses_an_empty_one(self) -> None:
        others = [
            where
            for where, _, parameter in parameters()
            if isinstance(parameter.type, click.Path) and not isinstance(parameter.type, PathType)
        ]
        self.assertEqual(others, [])

    def test_an_empty_path_is_not_this_folder(self) -> None:
        for arguments, name in (
            (("ca", "init", ""), "'DIR'"),
            (("token", "create", "shop/web", "--ca", "mesh", "--out="), "'--out'"),
        ):
            command = f"meshtx {arguments[0]} {arguments[1]}"
            problem = f"Invalid value for {name}: the path is empty; write it like 'mesh'"
            self.assertEqual(self.run_line(*arguments), (2, "", f"{command}: {problem}; see '{command} --help'\n"))


class FindTests(Case):
    def test_help_lists_the_commands_without_importing_any(self) -> None:
        self.patch(main, "import_module", None)
        status, out, _ = self.run_line("--help")
        self.assertEqual(status, 0)
        self.assertRegex(out, r"\n  ca +Make the mesh's certificate authority")
        self.assertRegex(out, r"\n  token +Make the token that proves a workload's name\.")

    def test_nothing_asked_is_help_and_asked_wrongly(self) -> None:
        status, out, err = self.run_line()
        self.assertEqual((status, "Commands:" in out + err), (2, True))

    def test_a_command_in_the_table_but_not_there_is_not_listed(self) -> None:
        self.patch(main, "find_spec", lambda name: name.endswith(".ca"))
        self.assertNotIn("token ", self.run_line("--help")[1])
        self.assertEqual(self.run_line("token")[0], 2)

    def test_each_command_that_is_there_can_be_loaded(self) -> None:
        group = main.meshtx
        assert isinstance(group, main.Commands)
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            self.assertTrue(command.help, name)

    def test_an_unknown_command_names_the_nearest(self) -> None:
        self.assertEqual(
            self.run_line("tokn"),
            (2, "", "meshtx: no command 'tokn' (the nearest is 'token'); see 'meshtx --help'\n"),
        )
        self.assertEqual(self.run_line("xyzzy"), (2, "", "meshtx: no command 'xyzzy'; see 'meshtx --help'\n"))

    def test_an_unknown_option_is_one_line(self) -> None:
        self.assertEqual(self.run_line("--bad"), (2, "", "meshtx: No such option '--bad'; see 'meshtx --help'\n"))
        self.assertEqual(
            self.run_line("token", "create"),
            (2, "", "meshtx token create: Missing argument 'NAMESPACE/ACCOUNT'; see 'meshtx token create --help'\n"),
        )

    def test_the_version(self) -> None:
        self.assertEqual(self.run_line("--version"), (0, f"meshtx, version {__version__}\n", ""))

    def test_a_command_that_lacks_a_package_says_so_and_the_others_work(self) -> None:
        real = main.import_module

        def load(name: str) -> ModuleType:
            if name.endswith(".token"):
                raise ImportError("No module named 'rich'")
            return real(name)

        self.patch(main, "import_module", load)
        self.assertEqual(
            self.run_line("token"),
            (2, "", "meshtx: meshtx token: cannot be loaded: No module named 'rich'; install what it needs\n"),
        )
        self.assertEqual(self.run_line("ca", "--help")[0], 0)

    def test_a_module_without_a_command_is_a_defect(self) -> None:
        module = ModuleType("meshtx.cli.why")
        module.command = "hello"  # type: ignore[attr-defined]
        self.patch(main, "find_spec", lambda found: True)
        self.patch(main, "import_module", lambda found: module)
        self.assertRaises(TypeError, main.run, ["why"])

    def test_help_is_quick_for_it_loads_neither_twisted_nor_cryptography(self) -> None:
        process = python("import sys, meshtx.cli.main as m; m.run(['--help']); print(sorted(sys.modules))")
        out, _ = process.communicate(timeout=20)
        loaded = out.splitlines()[-1]
        self.assertEqual([name for name in ("click", "twisted", "cryptography") if f"'{name}'" in loaded], ["click"])


class EndTests(Case):
    def raising(self, error: BaseException) -> tuple[int, str, str]:
        def action() -> None:
            raise error

        self.command(action)
        return self.run_line("why")

    def test_as_wished_is_0_and_a_command_may_say_otherwise(self) -> None:
        self.command(lambda: None)
        self.assertEqual(self.run_line("why"), (0, "", ""))
        self.command(lambda: 1)
        self.assertEqual(self.run_line("why")[0], 1)
        self.command(lambda: click.get_current_context().exit(3))
        self.assertEqual(self.run_line("why")[0], 3)

    def test_each_error_is_one_line_and_has_its_status(self) -> None:
        self.assertEqual(
            self.raising(ConfigError("mesh", "is empty", "fill it")), (2, "", "meshtx: mesh: is empty; fill it\n")
        )
        self.assertEqual(self.raising(CredentialsError("it has expired")), (1, "", "meshtx: it has expired\n"))
        self.assertEqual(self.raising(click.ClickException("no")), (1, "", "meshtx: no\n"))

    def test_interrupted_is_130(self) -> None:
        self.assertEqual(self.raising(KeyboardInterrupt())[0], 130)
        self.assertEqual(self.raising(click.Abort())[0], 130)

    def test_a_reader_that_has_seen_enough_is_no_traceback(self) -> None:
        process = python("from meshtx.cli.main import main; import sys; sys.argv = ['meshtx', '--help']; main()")
        assert process.stdout
        process.stdout.close()
        _, err = process.communicate(timeout=20)
        self.assertEqual((process.returncode, err), (1, ""))

    def test_an_answer_that_cannot_be_written_is_one_line_and_a_failure(self) -> None:
        for buffering in ("", "sys.stdout.reconfigure(write_through=True); "):
            with open("/dev/full", "wb") as full:
                process = python(f"import sys, meshtx.cli.main as m; {buffering}sys.exit(m.run(['--help']))", full)
            _, err = process.communicate(timeout=20)
            self.assertEqual(
                (process.returncode, err),
                (1, "meshtx: standard output: no space left on device; send it where there is room\n"),
            )

    def test_nothing_is_done_for_whom_nobody_can_answer(self) -> None:
        process = python("import sys, meshtx.cli.main as m; sys.stdout = None; m.meshtx = None; sys.exit(m.run([]))")
        _, err = process.communicate(timeout=20)
        self.assertEqual(
            (process.returncode, err),
            (2, "meshtx: standard output: it is closed; send it somewhere, such as to /dev/null\n"),
        )

    def test_what_the_encoding_lacks_is_escaped(self) -> None:
        code = "import sys, meshtx.cli.main as m; sys.stdout.reconfigure(encoding='latin-1', errors='strict'); "
        process = python(code + "m.meshtx.help = '\u2500'; sys.exit(m.run(['--help']))")
        out, err = process.communicate(timeout=20)
        self.assertEqual((process.returncode, err), (0, ""))
        self.assertIn("\\u2500", out)

    def test_an_error_of_another_file_is_a_defect(self) -> None:
        self.assertRaises(OSError, self.raising, OSError(28, "No space left on device"))
