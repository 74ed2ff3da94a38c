"""``meshtx redirect``: turn this machine's traffic to the proxy by nftables, and away again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from meshtx.cli.options import PATH
from meshtx.config import ProxyConfig
from meshtx.config_load import load_some
from meshtx.errors import ConfigError
from meshtx.net import redirect as net
from meshtx.wire.address import Address
from meshtx.wire.network import parse_network
from meshtx.wire.ports import PROXY_INBOUND, PROXY_OUTBOUND, PortRange

_Split = Callable[[click.Context, click.Parameter, str], tuple[object, ...]]


def _each(parse: Callable[[str], object]) -> _Split:
    """Return what makes values of a comma-separated option; a bad part is a usage error."""

    def split(_context: click.Context, _option: click.Parameter, text: str) -> tuple[object, ...]:
        try:
            return tuple(parse(part.strip()) for part in text.split(",") if part.strip())
        except ValueError as why:
            raise click.BadParameter(str(why)) from why

    return split


def _number(text: str) -> int:
    try:
        return int(text, 0)  # a mark is often written 0x4d
    except ValueError:
        raise click.BadParameter(f"{text!r} is no number") from None


_PORTS = _each(PortRange.parse)
_NETWORKS = _each(parse_network)
_table = click.option("--table", default=net.DEFAULT_TABLE, show_default=True, help="Name of the nftables table.")


@click.group("redirect")
def command() -> None:
    """Turn the TCP traffic of this network namespace to the proxy.

    All is in one nftables table, loaded and removed as a whole; it needs NET_ADMIN.
    """


@command.command("apply")
@click.option("--inbound-port", type=int, default=PROXY_INBOUND, show_default=True, help="The proxy's, for peers.")
@click.option(
    "--outbound-port", type=int, default=PROXY_OUTBOUND, show_default=True, help="The proxy's, for the workload."
)
@click.option("--proxy-uid", "uid", type=int, help="The proxy's user: its own connections pass.")
@click.option("--proxy-gid", "gid", type=int, help="The proxy's group: likewise.")
@click.option(
    "--proxy-mark",
    "mark",
    type=_number,
    metavar="NUMBER",
    help="The mark on the proxy's sockets: likewise, where all processes are one user.",
)
@click.option(
    "--own-ports",
    default=",".join(map(str, net.OWN_PORTS)),
    show_default=True,
    callback=_PORTS,
    help="Ports that the proxy serves itself: tap and admin.",
)
@click.option(
    "--skip-inbound", "skip_inbound", default="", callback=_PORTS, help="Ports here to leave alone: 22,8000-8099."
)
@click.option("--skip-outbound", default="", callback=_PORTS, help="Ports elsewhere to leave alone.")
@click.option(
    "--skip-sources", default="", callback=_NETWORKS, help="Networks whose connections to here to leave alone."
)
@click.option("--skip-destinations", default="", callback=_NETWORKS, help="Networks to connect to directly.")
@click.option(
    "--config",
    type=PATH,
    help="The proxy's TOML file: its ports and its mark are taken from there, unless an option above gives them. What"
    " the proxy has from flags or its environment is not known here.",
)
@_table
@click.option("--dry-run", is_flag=True, help="Print the script instead; change nothing.")
@click.pass_context
def apply(context: click.Context, /, dry_run: bool, **_rules: object) -> None:
    """Load the redirect, in place of the one that is there."""
    wanted = rules_of(context)
    if dry_run:
        click.echo(net.render(wanted), nl=False)
    else:
        net.apply(wanted)
        click.echo(f"table={wanted.table} inbound={wanted.inbound_port} outbound={wanted.outbound_port}")


def rules_of(context: click.Context) -> net.RedirectRules:
    """Return the rules that the options of `apply` name.

    :raises ConfigError: see `_told`.
    """
    rules: dict[str, Any] = {key: value for key, value in context.params.items() if key not in {"config", "dry_run"}}
    given = {key for key in rules if context.get_parameter_source(key) is not ParameterSource.DEFAULT}
    told = {} if context.params["config"] is None else _told(context.params["config"])
    return net.RedirectRules(**rules | {key: value for key, value in told.items() if key not in given})


def _told(file: Path) -> dict[str, object]:
    """Return what a proxy's file says of the rules.

    :raises ConfigError: the file cannot be used, or the proxy takes no redirected connections at one port alone.
    """
    told = load_some(ProxyConfig, file, ("inbound_listen", "outbound_listen", "tap_listen", "admin_listen", "mark"))
    served = {told[key].port for key in ("tap_listen", "admin_listen")}
    return {
        "inbound_port": _only_port(file, "inbound_listen", told["inbound_listen"]),
        "outbound_port": _only_port(file, "outbound_listen", told["outbound_listen"]),
        "own_ports": tuple(PortRange(port, port) for port in sorted(served)),
        "mark": told["mark"],
    }


def _only_port(file: Path, key: str, listeners: Sequence[Address]) -> int:
    ports = {address.port for address in listeners}
    if len(ports) != 1:
        problem = f"{len(ports)} ports, and the redirect leads to one"
        raise ConfigError(f"{file}: {key}", problem, "name one port there, or leave out --config and give the ports")
    return ports.pop()


@command.command("remove")
@_table
def remove(table: str) -> None:
    """Take the redirect away, with all that belongs to it."""
    click.echo(f"table={table} removed" if net.remove(table) else "no redirect")


@command.command("show")
@_table
def show(table: str) -> None:
    """Print the table that is loaded; exit with 1 if there is none."""
    loaded = net.show(table)
    if loaded is None:
        click.echo("no redirect")
        raise click.exceptions.Exit(1)
    click.echo(loaded, nl=False)
