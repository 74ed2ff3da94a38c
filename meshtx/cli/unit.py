"""``meshtx unit``: print what systemd runs the programs by."""

from __future__ import annotations

from pathlib import Path

import click

from meshtx.cli.options import PATH
from meshtx.cli.redirect import apply, rules_of
from meshtx.services import units


@click.group("unit")
def command() -> None:
    """Print the systemd units that run meshtx on a server, and what makes their user.

    Each goes to a file of its own: /etc/systemd/system/meshproxy.service, meshidentity.service, meshredirect.service,
    and /etc/sysusers.d/meshtx.conf. A restart in place refuses no connection.
    """


@command.command("proxy")
@click.option(
    "--config", type=PATH, default="/etc/meshtx/proxy.toml", show_default=True, help="The proxy's configuration."
)
@click.option(
    "--token-file",
    type=PATH,
    default="/etc/meshtx/token",
    show_default=True,
    help="The proxy's token, which root alone need be able to read.",
)
@click.option(
    "--certificate-files", is_flag=True, help="No token: certificate_file and key_file stand in the configuration."
)
def proxy(config: Path, token_file: Path, certificate_files: bool) -> None:
    """Print the unit of the proxy."""
    click.echo(units.proxy_unit(config, None if certificate_files else token_file), nl=False)


@command.command("identity")
@click.option(
    "--ca",
    "folder",
    type=PATH,
    default="/etc/meshtx/ca",
    show_default=True,
    help="The folder of 'meshtx ca init', which root alone need be able to read.",
)
@click.option("--config", type=PATH, help="A TOML file with further settings.")
def identity(folder: Path, config: Path | None) -> None:
    """Print the unit of the identity service."""
    click.echo(units.identity_unit(folder, config), nl=False)


@command.command("redirect", context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS OF meshtx redirect apply]")
def redirect(arguments: tuple[str, ...]) -> None:
    """Print the unit of the redirect: it is applied before the network is there.

    Without --proxy-uid, --proxy-gid and --proxy-mark the proxy is known by the user of its unit.
    """
    given = [*arguments]
    if not any(each.startswith(("--proxy-uid", "--proxy-gid", "--proxy-mark")) for each in given):
        given = ["--proxy-uid", str(units.UID), *given]
    rules = rules_of(apply.make_context("meshtx redirect apply", list(given)))
    click.echo(units.redirect_unit(given, rules.table), nl=False)


@command.command("sysusers")
def sysusers() -> None:
    """Print what makes the proxy's user (sysusers.d)."""
    click.echo(units.SYSUSERS, nl=False)
