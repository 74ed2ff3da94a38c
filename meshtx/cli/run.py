"""``meshtx run``: a proxy for as long as one command runs; for jobs, and containers that have no sidecar."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, TypeVar

import click

from meshtx.cli.options import DURATION, PATH
from meshtx.config import ProxyConfig, load, settings
from meshtx.config_load import Setting
from meshtx.config_options import describe
from meshtx.errors import ConfigError, said_by_system
from meshtx.supervisor.processes import TWISTD
from meshtx.supervisor.supervisor import ProxyProgram, Supervisor

F = TypeVar("F", bound=Callable[..., Any])


def _proxy_settings(function: F) -> F:
    """Add an option for each setting of the proxy; its value stays text."""
    for each in reversed(settings(ProxyConfig)):
        form = {"is_flag": True} if each.kind.flag else {"multiple": each.kind.many, "metavar": each.kind.form}
        function = click.option(each.flag, each.key, help=describe(each), **form)(function)
    return function


@click.command("run", context_settings={"allow_interspersed_args": False})
@click.option(
    "--ready-timeout",
    type=DURATION,
    default=timedelta(seconds=30),
    show_default="30s",
    help="How long the proxy may take to be ready.",
)
@click.option("--proxy-log", type=PATH, help="Append the proxy's log to this file; default: standard error.")
@click.option("--config", type=PATH, help="The proxy's TOML file. [MESHTX_PROXY_CONFIG]")
@_proxy_settings
@click.argument("words", metavar="[--] COMMAND [ARG]...", nargs=-1, required=True, type=click.UNPROCESSED)
def command(
    ready_timeout: timedelta, proxy_log: Path | None, config: Path | None, words: tuple[str, ...], **given: Any
) -> int:
    """Start a proxy, run COMMAND once it is ready, and exit with COMMAND's status.

    The other options are settings of the proxy, as `twistd meshproxy` takes them.

    COMMAND has the standard streams, variables and descriptors of `meshtx run`, and is sent its signals. When it has
    ended, the proxy finishes the connections that are left, within its drain-timeout. If the proxy fails while COMMAND
    runs, COMMAND is sent SIGTERM: a proxy is not started twice.

    The status is COMMAND's, and 128+N if signal N ended it; 127 if COMMAND is not found, 126 if it cannot be executed;
    125 if the proxy was not ready in time, or failed; 2 if an option or a setting is wrong.
    """
    flags = {each.key: text for each in settings(ProxyConfig) if (text := _text(each, given[each.key])) is not None}
    loaded = load(ProxyConfig, flags, os.environ, config)
    if not loaded.admin_listen.port:
        raise ConfigError("admin_listen", "port 0 cannot be asked whether the proxy is ready", "name the port")
    program = ProxyProgram(
        argv=[*TWISTD, "--nodaemon", "--pidfile=", ProxyConfig.program, *_arguments(flags, config)],
        admin_host="localhost" if loaded.admin_listen.ip.is_unspecified else loaded.admin_listen.host,
        admin_port=loaded.admin_listen.port,
        ready_timeout=ready_timeout.total_seconds(),
        drain_timeout=loaded.drain_timeout,
    )
    with ExitStack() as stack:
        log = stack.enter_context(_append_to(proxy_log)) if proxy_log else _standard_error()
        return Supervisor(program, words, log, _report).run()


def _text(each: Setting, given: Any) -> str | None:
    """Return an option's value in the one spelling that all sources share, ``None`` if it was not given."""
    if each.kind.flag:
        return "true" if given else None
    if each.kind.many:
        return ",".join(given) if given else None
    return given


def _arguments(flags: Mapping[str, str], config: Path | None) -> list[str]:
    given = [each for each in settings(ProxyConfig) if each.key in flags]
    options = [each.flag if each.kind.flag else f"{each.flag}={flags[each.key]}" for each in given]
    return [f"--config={config}", *options] if config else options


def _append_to(file: Path) -> IO[bytes]:
    try:
        return file.open("ab")
    except OSError as error:
        raise ConfigError("--proxy-log", f"{file}: {said_by_system(error)}", "name one that can be written") from None


def _standard_error() -> int:
    return sys.__stderr__.fileno() if sys.__stderr__ is not None else subprocess.DEVNULL


def _report(message: str) -> None:
    click.echo(f"meshtx: {message}", err=True)
