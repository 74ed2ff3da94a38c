"""The command ``meshtx``: finds its sub-commands, and says in one line what went wrong.

A sub-command is a module of this package with the click command `command` in it. It is imported only
when it is called: a heavy one, or one whose optional dependency is missing, costs the others nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from io import TextIOWrapper

import click

from meshtx import __version__
from meshtx.errors import ConfigError, MeshtxError, OutputError

COMMANDS = {
    "ca": "Make the mesh's certificate authority, and its next issuer.",
    "check": "Look whether the mesh of a cluster is as it should be.",
    "demo": "Run a whole mesh of example services on this machine.",
    "inject": "Mark the pods of manifests, so that the cluster meshes them.",
    "install": "Print the manifests of the control plane, for kubectl apply.",
    "redirect": "Send a workload's connections through its proxy.",
    "run": "Run a command with a proxy of its own.",
    "tap": "Show connections and requests as they happen.",
    "token": "Make the token that proves a workload's name.",
    "unit": "Print the systemd units that run it on a server.",
    "uninstall": "Print what to delete of it, for kubectl delete.",
    "wait": "Wait until the proxy beside us is ready.",
    "why": "Explain whether a connection is mutual TLS.",
}
"""Module and command name, and what ``meshtx --help`` says of it."""

FAILED, ASKED_WRONGLY, INTERRUPTED = 1, 2, 130
"""Exit statuses; 0 is as wished."""


class Commands(click.Group):
    """Sub-commands by name, each imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of those that are installed."""
        del ctx
        return [name for name in COMMANDS if find_spec(f"meshtx.cli.{name}")]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one."""
        if cmd_name not in self.list_commands(ctx):
            return None
        try:
            command = import_module(f"meshtx.cli.{cmd_name}").command
        except ImportError as error:
            raise ConfigError(f"meshtx {cmd_name}", f"cannot be loaded: {error}", "install what it needs") from error
        if not isinstance(command, click.Command):
            raise TypeError(f"meshtx.cli.{cmd_name}.command is no click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; name the nearest where there is none."""
        name = args[0]
        known = self.list_commands(ctx)
        if name not in known and not name.startswith("-"):
            near = get_close_matches(name, known, 1)
            hint = f" (the nearest is {near[0]!r})" if near else ""
            raise click.UsageError(f"no command {name!r}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name]) for name in self.list_commands(ctx)])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="meshtx")
def meshtx() -> None:
    """Mutual TLS between workloads, without a change to any of them."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status.

    :param arguments: without the program's name; those of the process by default.
    """
    if sys.stdout is None:  # the next file that is opened would get its descriptor
        return _say("standard output: it is closed; send it somewhere, such as to /dev/null", ASKED_WRONGLY)
    if isinstance(sys.stdout, TextIOWrapper):  # what its encoding lacks is shown as stderr shows it, and is no trace
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = meshtx.main(args=arguments, prog_name="meshtx", standalone_mode=False)
        sys.stdout.flush()
    except ConfigError as error:
        return _say(str(error), ASKED_WRONGLY)
    except MeshtxError as error:
        return _say(str(error), FAILED)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return ASKED_WRONGLY
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "meshtx"
        click.echo(f"{command}: {error.format_message().rstrip('.')}; see '{command} --help'", err=True)
        return ASKED_WRONGLY
    except click.ClickException as error:
        return _say(error.format_message(), FAILED)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except OSError as error:
        return _not_written(error)
    return status if isinstance(status, int) else 0


def _not_written(error: OSError) -> int:
    """Say that the answer cannot be written, but if whoever read it has seen enough.

    :raises OSError: that was not why.
    """
    try:
        click.echo()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python tries again when it ends
        return FAILED if isinstance(error, BrokenPipeError) else _say(str(OutputError(error)), FAILED)
    raise error


def _say(text: str, status: int) -> int:
    click.echo(f"meshtx: {text}", err=True)
    return status


def main() -> None:
    """Be the program ``meshtx``."""
    sys.exit(run())
