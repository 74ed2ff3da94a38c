"""``meshtx why``: what the directory says of a destination, and what follows from it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from meshtx.cli.options import OUTPUT, PATH
from meshtx.directory.file import load
from meshtx.directory.target import Meshed, Target
from meshtx.observe.flow import NoTlsReason
from meshtx.wire.address import Address

HINTS = {
    NoTlsReason.NOT_DISCOVERED: "No entry of {file} gives {ip} an identity; give it one there.",
    NoTlsReason.PORT_SKIPPED: "{file} skips port {port}: the proxy takes no part in it.",
}
"""What to do about a connection that is plaintext, by the reason."""


@click.command("why")
@click.argument("destination")
@click.option(
    "--directory-file",
    type=PATH,
    required=True,
    envvar="MESHTX_WHY_DIRECTORY_FILE",
    show_envvar=True,
    help="The mesh's directory file.",
)
@OUTPUT
def command(destination: str, directory_file: Path, output: str) -> None:
    """Explain whether a connection to DESTINATION (ADDRESS:PORT) is mutual TLS."""
    try:
        address = Address.parse(destination)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="DESTINATION") from None
    table = load(directory_file)
    target = table.find(address)
    facts = _facts(target)
    if output == "json":
        click.echo(json.dumps(facts))
        return
    click.echo(" ".join(f"{key}={'true' if value is True else value}" for key, value in facts.items() if value))
    hint = HINTS.get(target.security.reason) if not isinstance(target.security, Meshed) else None
    if hint:
        click.echo("  " + hint.format(file=directory_file, ip=address.ip, port=address.port))


def _facts(target: Target) -> dict[str, str | bool | None]:
    facts = {"dst": str(target.address), "authority": target.authority or None, "opaque": target.opaque}
    match target.security:
        case Meshed(name, via):
            return {**facts, "tls": "true", "peer": str(name), "via": str(via)}
        case no_tls:
            return {**facts, "tls": no_tls.reason.value}
